//! `egret explain`: the meaning of a code of a refusal, a record or a policy's problem, and the solution.

use std::fmt::Write as _;

use anyhow::anyhow;

use crate::exit::{Answer, Failure};
use crate::output;

/// The page is the source: a test of `proxy` compares it with the table of refusals.
const REFUSALS: &str = include_str!("../../docs/refusals.md");

/// Print what a code means and what to do about it.
#[derive(clap::Args)]
pub(crate) struct Explain {
    /// The code of a refusal or a record, such as denied_host; or of a problem in a policy, such as EG0012.
    #[arg(value_name = "CODE")]
    code: String,
}

impl Explain {
    /// # Errors
    /// 2 for an unknown code.
    pub(crate) fn execute(&self) -> Answer {
        print(&self.code)
    }
}

/// Prints the meaning of a code.
///
/// # Errors
/// 2 for an unknown code.
pub(crate) fn print(code: &str) -> Answer {
    let text = policies::explain_code(code).map(policies::Story::markdown).or_else(|| refusal(code)).ok_or_else(|| {
        let near = nearest(code).map_or_else(String::new, |near| format!(" did you mean {near}?"));
        Failure::usage(anyhow!(
            "unknown code {};{near} docs/refusals.md lists the codes of refusals and records; a policy's problems have codes such as EG0012",
            output::visible(code)
        ))
    })?;
    output::print(&text);
    Ok(())
}

/// The code that is spelled most like this one.
fn nearest(code: &str) -> Option<&'static str> {
    let codes = model::Reason::ALL.iter().map(|reason| reason.code());
    let codes = codes.chain(policies::stories().map(|story| story.code));
    let near = codes.map(|known| (policies::edit_distance(code, known), known));
    near.filter(|(distance, known)| *distance * 3 <= known.len()).min().map(|(_, known)| known)
}

/// The row of the page as text.
fn refusal(code: &str) -> Option<String> {
    let front = format!("| `{code}` | ");
    let row = REFUSALS.lines().find_map(|line| line.strip_prefix(&front))?.trim_end_matches(" |");
    let plain = |text: &str| text.replace('`', "");
    let cells: Vec<&str> = row.split(" | ").collect();
    let mut text = format!("# {code}");
    match cells.as_slice() {
        [status, title, retry, fault, meaning] => {
            let (retry, meaning) = (plain(retry), linked(meaning));
            write!(text, ": {title}\n\nstatus {status}, retry {retry}, fault {fault}\n\n{meaning}\n").ok()?;
        }
        [meaning] => write!(text, "\n\nOnly in records: no client sees it.\n\n{}\n", linked(meaning)).ok()?,
        _ => return None,
    }
    Some(text)
}

/// Links to pages as `docs/page.md`.
fn linked(text: &str) -> String {
    let mut parts = text.split("](");
    let mut plain = parts.next().unwrap_or_default().replace('[', "docs/");
    for part in parts {
        plain.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained() {
        for reason in model::Reason::ALL {
            let text = refusal(reason.code()).unwrap_or_else(|| panic!("{reason}"));
            assert!(text.starts_with(&format!("# {reason}")) && text.lines().count() >= 5, "{text}");
            assert!(!text.contains("](") && !text.contains(" | "), "{text}");
        }
        assert!(refusal("denied_hos").is_none());
        assert_eq!(print("EG9999").unwrap_err().code(), 2);
        for (wrong, near) in
            [("denied_hos", Some("denied_host")), ("EG0O60", Some("EG0060")), ("nothing-like-it", None)]
        {
            assert_eq!(nearest(wrong), near, "{wrong}");
        }
    }

    #[test]
    fn a_refusal_is_explained_with_its_status() {
        let text = refusal("denied_port").unwrap();
        assert_eq!(
            text,
            "# denied_port: The port is not allowed\n\nstatus 403, retry never, fault policy\n\n\
             A rule reaches the host on other ports only.\n"
        );
        let text = refusal("denied_path").unwrap();
        assert!(text.contains("see docs/policy.md."), "{text}");
    }
}
