//! The text of a job file, with the `--set` overrides laid behind it, as one space of positions.
//!
//! A [`Span`] says where a value was written, be it in the file or on the command line. Only this
//! module knows where one text ends and the next begins.

use std::ops::Range;
use std::sync::Arc;

use miette::NamedSource;

/// Byte positions in a [`JobText`].
pub type Span = Range<usize>;

/// A job file and its overrides. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct JobText {
    segments: Arc<Vec<Segment>>,
}

#[derive(Debug)]
struct Segment {
    name: String,
    text: String,
    start: usize,
}

/// A [`Span`] resolved to one of the texts.
#[derive(Clone, Debug)]
pub struct Place {
    /// Which text: 0 is the file.
    pub(super) segment: usize,
    /// The text that holds it, with its name.
    pub source: NamedSource<String>,
    /// Where in that text.
    pub span: Span,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl JobText {
    /// The text of the file called `name`, then each override as it was given.
    pub(super) fn new(name: String, file: String, sets: &[String]) -> Self {
        let mut segments = vec![Segment { name, text: file, start: 0 }];
        for set in sets {
            let last = &segments[segments.len() - 1];
            let start = last.start + last.text.len() + 1;
            segments.push(Segment { name: "--set".to_owned(), text: set.clone(), start });
        }
        Self { segments: Arc::new(segments) }
    }

    /// The file's own text.
    pub(super) fn file(&self) -> &str {
        self.segments.first().map_or("", |segment| segment.text.as_str())
    }

    /// The overrides, each with the position of its first byte.
    pub(super) fn sets(&self) -> impl Iterator<Item = (usize, &str)> {
        self.segments.iter().skip(1).map(|segment| (segment.start, segment.text.as_str()))
    }

    /// The text and line of `span`; `None` when there is no text at all.
    pub(super) fn locate(&self, span: &Span) -> Option<Place> {
        let index = self.segments.iter().rposition(|segment| segment.start <= span.start)?;
        let segment = &self.segments[index];
        let text = segment.text.as_str();
        let start = floor_char_boundary(text, span.start - segment.start);
        let end = floor_char_boundary(text, span.end.saturating_sub(segment.start)).max(start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some(Place {
            segment: index,
            source: NamedSource::new(&segment.name, segment.text.clone()).with_language("TOML"),
            span: start..end,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        })
    }
}

impl Place {
    /// Whether both lie in one text, so that one snippet can show them.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.segment == other.segment
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_found_in_the_text_that_holds_it() {
        let text = JobText::new("job.toml".into(), "a = 1\nbé = 2\n".into(), &["c=3".into()]);
        let in_file = text.locate(&(11..12)).unwrap();
        assert_eq!((in_file.source.name(), in_file.line, in_file.column), ("job.toml", 2, 5));
        let (start, _) = text.sets().next().unwrap();
        let in_set = text.locate(&(start + 2..start + 3)).unwrap();
        assert_eq!((in_set.source.name(), in_set.line, in_set.column), ("--set", 1, 3));
    }

    #[test]
    fn a_span_past_the_end_is_cut_to_the_end() {
        let text = JobText::new("job.toml".into(), "é".into(), &[]);
        assert_eq!(text.locate(&(1..9)).unwrap().span, 0..2);
        assert!(JobText::default().locate(&(0..0)).is_none());
    }
}
