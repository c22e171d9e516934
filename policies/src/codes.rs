//! The explanation of every code: what it means, why it is refused, and an example with its fix.

mod identity;
mod lint;
mod misfits;
mod patterns;
mod rules;
mod shape;

use std::fmt;

use crate::problem::Severity;

/// The story of one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    /// The stable code, `EG` and four digits.
    pub code: &'static str,
    /// How bad it is, as a rule.
    pub severity: Severity,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Why it is refused, or warned of.
    pub why: &'static str,
    /// Files that have the problem.
    pub broken: &'static [&'static str],
    /// The same files, fixed.
    pub mended: &'static [&'static str],
}

/// The explanation of a code such as `EG0012`; lower case is accepted.
pub fn explain_code(code: &str) -> Option<&'static Story> {
    stories().find(|story| story.code.eq_ignore_ascii_case(code))
}

/// All stories, in the order of their codes.
pub fn stories() -> impl Iterator<Item = &'static Story> {
    [shape::STORIES, patterns::STORIES, rules::STORIES, lint::STORIES, identity::STORIES, misfits::STORIES]
        .into_iter()
        .flatten()
}

impl Story {
    /// A name for programs, made of the title: `A key twice` is `AKeyTwice`.
    pub fn name(&self) -> String {
        let words = self.title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let mut name = String::new();
        for word in words {
            let mut letters = word.chars();
            name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            name.extend(letters);
        }
        name
    }

    /// The story in Markdown.
    pub fn markdown(&self) -> String {
        let block = |files: &[&str]| files.iter().map(|file| format!("```yaml\n{file}```\n")).collect::<String>();
        format!(
            "# {}: {}\n\n{}\n\n{}\n\nRefused:\n\n{}\nInstead:\n\n{}",
            self.code,
            self.title,
            self.meaning,
            self.why,
            block(self.broken),
            block(self.mended)
        )
        .replace(
            "Refused:",
            match self.severity {
                Severity::Error => "Refused:",
                Severity::Warning => "Warned of:",
            },
        )
    }
}

/// The story for a terminal.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => ("error", "Refused"),
            Severity::Warning => ("warning", "Warned of"),
        };
        writeln!(
            f,
            "{} ({}): {}\n\n{}\n\n{}",
            self.code,
            kind.0,
            self.title,
            wrapped(self.meaning),
            wrapped(self.why)
        )?;
        for (what, files) in [(kind.1, self.broken), ("Instead", self.mended)] {
            for file in files {
                writeln!(f, "\n{what}:\n")?;
                for line in file.lines() {
                    writeln!(f, "{}", format!("    {line}").trim_end())?;
                }
            }
        }
        Ok(())
    }
}

/// Breaks a text into lines of at most 88 characters where it can.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + word.chars().count() < 88) {
            Some(line) => line.extend([" ", word]),
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
