//! Decoders against bytes that nobody wrote (F1, F2).
