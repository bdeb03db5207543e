//! Errors as people and journals read them.

use std::error::Error;

/// An error with all that it says of its causes, in one line.
///
/// For places that keep a text: a journal record, an event, a line of a log. A terminal shows the causes apart.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl std::fmt::Display for Layer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    #[test]
    fn every_cause_is_told_from_the_outermost_on() {
        let error =
            Layer("not backed up", Some(Box::new(Layer("not read", Some(Box::new(Layer("disk", None)))))));
        assert_eq!(error_chain(&error), "not backed up: not read: disk");
    }
}
