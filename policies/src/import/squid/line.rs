//! The lines of a squid configuration.

use crate::import::ImportError;

/// A line of the configuration, with its number; continued lines are one.
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) words: Vec<String>,
}

impl Line {
    /// The directive.
    pub(super) fn directive(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The word after the directive.
    pub(super) fn action(&self) -> &str {
        self.words.get(1).map_or("", String::as_str)
    }

    /// The lists that an access line names, and whether it negates them.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.words.iter().skip(2).map(|word| word.strip_prefix('!').map_or((word.as_str(), false), |name| (name, true)))
    }

    pub(super) fn text(&self) -> String {
        self.words.join(" ")
    }

    /// The import ends at this line.
    pub(super) fn lost(&self, why: &str) -> ImportError {
        let why = format!("`{}` cannot be translated, and a deny is not left out: {why}", self.text());
        ImportError::Refused { line: self.number, why }
    }
}

/// The lines, without comments; one that ends in a backslash continues in the next.
pub(super) fn lines(text: &str) -> Result<Vec<Line>, ImportError> {
    let mut lines: Vec<Line> = Vec::new();
    let mut is_continued = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_end();
        let (line, continues) = line.strip_suffix('\\').map_or((line, false), |front| (front, true));
        let words: Vec<String> =
            line.split_whitespace().take_while(|word| !word.starts_with('#')).map(str::to_owned).collect();
        if continues && line.split_whitespace().any(|word| word.starts_with('#')) {
            let why =
                "a comment ends in a backslash, so it is not clear whether the next line belongs to it".to_owned();
            return Err(ImportError::Refused { line: at + 1, why });
        }
        match lines.last_mut().filter(|_| is_continued) {
            Some(last) => last.words.extend(words),
            None => lines.push(Line { number: at + 1, words }),
        }
        is_continued = continues;
    }
    lines.retain(|line| !line.words.is_empty());
    Ok(lines)
}
