//! What a port returns to whoever asked through it.

use std::pin::Pin;

/// What is under way, until it has a result.
pub type Work<T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send>>;
/// Why a port did not do it, for a reader.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;
