//! `egret policy fmt`: policy files in one layout.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use policies::{PolicySource, render};

use super::counted;
use super::sources::{Files, read_input};
use crate::Context;
use crate::exit::{Answer, Failure, OrFail as _};
use crate::output;

/// Lay policy files out in one way. Comments, the order of rules and the meaning stay.
#[derive(clap::Args)]
pub(super) struct Fmt {
    /// Files and folders [default: those of the configuration].
    #[arg(value_name = "FILE", conflicts_with = "stdin")]
    files: Vec<PathBuf>,
    /// Write nothing; list the files that would change, and fail where there are any.
    #[arg(long)]
    check: bool,
    /// Read standard input, write standard output.
    #[arg(long)]
    stdin: bool,
}

impl Fmt {
    /// # Errors
    /// 1 with `--check` if a file would change; 2 if one cannot be read or written.
    pub(super) fn execute(&self, context: &Context) -> Answer {
        if self.stdin {
            return self.pass_through();
        }
        let files = Files::read(context, &self.files)?;
        let (mut changed, mut broken) = (0, 0);
        for source in files.policies.iter().chain(&files.suites) {
            match policies::fmt(source) {
                Ok(text) if text == source.text => {}
                Ok(text) => {
                    changed += 1;
                    output::print(&format!("{}\n", source.name));
                    if !self.check {
                        replace(files.path_of(source), &text)
                            .with_context(|| format!("cannot write {}", source.name))
                            .or_usage()?;
                    }
                }
                Err(problems) => {
                    broken += 1;
                    output::say(render::human(&problems).trim_end());
                }
            }
        }
        if broken > 0 {
            return Err(Failure::usage(anyhow!("{} cannot be laid out", counted(broken, "file"))));
        }
        if self.check && changed > 0 {
            return Err(Failure::refused(anyhow!("{} would change", counted(changed, "file"))));
        }
        Ok(())
    }

    fn pass_through(&self) -> Answer {
        let source = PolicySource { name: "standard input".to_owned(), text: read_input(Path::new("-"))? };
        let text = policies::fmt(&source).map_err(|problems| {
            output::say(render::human(&problems).trim_end());
            Failure::usage(anyhow!("the text cannot be laid out"))
        })?;
        if !self.check {
            output::print(&text);
            return Ok(());
        }
        if text == source.text { Ok(()) } else { Err(Failure::refused(anyhow!("the text would change"))) }
    }
}

/// Replaces the text of a file atomically, with the same mode; a reader sees the old or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays a link.
    let path = fs::canonicalize(path)?;
    let mode = fs::metadata(&path)?.permissions().mode();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode_and_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.yaml"), folder.path().join("link.yaml"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
