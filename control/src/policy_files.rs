//! Policy files on disk: which files are read, how, and under which names they appear in messages.
//!
//! Other users may fill a folder (a checkout, a mounted volume), and a link in it can lead to any file that this process may
//! read. So a link is followed only within its folder, or to a file of the link's own owner. The text of a file outside of
//! the folder is never quoted unless it is a policy.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use model::text_file::remove_mark;
use policies::PolicySource;

use crate::load_error::LoadError;
use crate::path_text::shown;

const MAX_FILE_BYTES: u64 = 1 << 20;

/// The built-in policies, under the names that they have in messages.
pub fn read_library() -> Vec<PolicySource> {
    policies::library().iter().map(PolicySource::from).collect()
}

/// Reads one path: a file, or every policy file of a folder.
///
/// # Errors
/// A path that is missing, is not text, or is too large.
pub fn read_path(path: &Path) -> Result<Vec<PolicySource>, LoadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Read { path, source }
    };
    let files = match fs::metadata(path).map_err(failed(path))?.is_dir() {
        true => files_of(path).map_err(failed(path))?,
        // A command may be given a pipe.
        false => return Ok(vec![read_file(path).map_err(failed(path))?]),
    };
    files.iter().map(|file| read_regular(file).map_err(failed(file))).collect()
}

/// The built-in policies and all configured ones.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<PolicySource>, LoadError> {
    let mut sources = read_library();
    for path in paths {
        match path.is_dir() {
            true => sources.extend(read_path(path)?),
            false => sources.push(read_regular(path).map_err(|source| LoadError::Read { path: path.clone(), source })?),
        }
    }
    Ok(sources)
}

/// Reads a file that a user put there: a pipe would block forever, and a link may lead anywhere.
fn read_regular(path: &Path) -> io::Result<PolicySource> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let link = fs::symlink_metadata(path)?;
    if !link.is_symlink() || is_within_folder(path, &file)? {
        return read_text(path, file);
    }
    check_owners(link.uid(), metadata.uid())?;
    let source = read_text(path, file)?;
    match policies::compile(std::slice::from_ref(&source)) {
        Ok(_) => Ok(source),
        // Whatever its content, it is not a policy, so none of it is quoted.
        Err(problems) => Err(io::Error::other(format!(
            "it is a link to a file outside of its folder that is not an acceptable policy ({})",
            problems.first().map(|problem| format!("{}, line {}", problem.code, problem.line)).unwrap_or_default()
        ))),
    }
}

/// A user who cannot read a file must not be able to have it read through a link.
fn check_owners(link: u32, file: u32) -> io::Result<()> {
    match link == file {
        true => Ok(()),
        false => Err(io::Error::other("it is a link to a file outside of its folder that belongs to another user")),
    }
}

/// Whether the opened file is in the folder of its path, even if links have changed since.
fn is_within_folder(path: &Path, file: &fs::File) -> io::Result<bool> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = fs::canonicalize(folder)?;
    let opened = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).or_else(|_| fs::canonicalize(path))?;
    Ok(opened.starts_with(folder))
}

fn read_file(path: &Path) -> io::Result<PolicySource> {
    read_text(path, fs::File::open(path)?)
}

fn read_text(path: &Path, file: fs::File) -> io::Result<PolicySource> {
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("the file is larger than {MAX_FILE_BYTES} bytes")));
    }
    remove_mark(&mut text);
    Ok(PolicySource { name: shown(path), text })
}

/// The policy files of a folder, sorted, without hidden files of editors and mounters.
///
/// # Errors
/// A folder that cannot be read.
pub fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let policy = matches!(path.extension().and_then(|end| end.to_str()), Some("yaml" | "yml"));
        let checks = path.file_stem().is_some_and(|stem| stem.as_encoded_bytes().ends_with(b".test"));
        if policy && !checks && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "policy: p\nrules: [{id: a, allow: {host: a.example}}]\n";

    #[test]
    fn a_pipe_is_not_waited_for_where_files_are_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.yaml"), POLICY).unwrap();
        assert_eq!(read_path(dir.path()).unwrap().len(), 1);
        let made = std::process::Command::new("mkfifo").arg(at("b.yaml")).status().unwrap();
        assert!(made.success());
        for refused in [read_path(dir.path()), read_all(&[at("b.yaml")])] {
            assert!(refused.unwrap_err().to_string().ends_with("b.yaml: it is not a regular file"));
        }
        // A command may be given the end of a pipe.
        let writer = std::thread::spawn({
            let pipe = at("b.yaml");
            move || fs::write(pipe, POLICY)
        });
        assert_eq!(read_path(&at("b.yaml")).unwrap()[0].text, POLICY);
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn t221_a_link_is_followed_within_its_folder_and_quotes_nothing_from_outside() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("policies/..v1")).unwrap();
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, at(name)).unwrap();
        // The layout of a mounted volume, with a mistake that its author may read.
        fs::write(at("policies/..v1/a.yaml"), "policy: a\nruels: []\n").unwrap();
        link("..v1", "policies/..data");
        link("..data/a.yaml", "policies/a.yaml");
        let [source] = read_path(&at("policies")).unwrap().try_into().unwrap();
        assert!(source.text.contains("ruels"));

        fs::write(at("token"), "hunter2: [sEcReT-line\n").unwrap();
        link("../token", "policies/b.yaml");
        link("../policy", "policies/c.yaml");
        fs::write(at("policy"), POLICY).unwrap();
        for refused in [read_path(&at("policies")), read_all(&[at("policies")]), read_all(&[at("policies/b.yaml")])] {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("b.yaml: it is a link to a file outside of its folder"), "{text}");
            assert!(!text.contains("hunter2") && !text.contains("sEcReT"), "{text}");
        }
        fs::remove_file(at("policies/b.yaml")).unwrap();
        assert_eq!(read_path(&at("policies")).unwrap()[1].text, POLICY);
        // Not even a policy of another user is accepted.
        assert!(check_owners(0, 0).is_ok() && check_owners(1000, 0).is_err() && check_owners(0, 1000).is_err());
    }
}
