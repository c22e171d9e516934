//! The files in `trust/` that clients read: their paths, and the content of the small ones. A small file makes a client use
//! the bundle if it has no variable of its own for that.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Below `trust/`: the small files for sandboxes that see the folder at another path.
const MOVED: &str = "moved";
/// Different paths at which sandboxes see the folder.
const MAX_MOVED: usize = 64;
/// It becomes a file name, with the separators replaced.
const MAX_CA_PATH_BYTES: usize = 200;

/// The files that clients read to trust the proxy, at the client's paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFiles {
    dir: PathBuf,
    /// The path of the small files.
    settings: PathBuf,
}

impl TrustFiles {
    /// The files of this `trust/` folder, at its own path.
    pub fn in_dir(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), settings: dir.to_owned() }
    }

    /// Our CA alone, PEM.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The system's roots and our CA, PEM.
    pub fn bundle(&self) -> PathBuf {
        self.dir.join("bundle.pem")
    }

    /// The same as a Java trust store.
    pub fn truststore(&self) -> PathBuf {
        self.dir.join("truststore.jks")
    }

    /// The variables that name the small files, with their values. A list of paths cannot contain a path with a colon.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let at = |name: &str| self.settings.join(name).display().to_string();
        let mut variables = vec![("WGETRC", at("wgetrc")), ("APT_CONFIG", at("apt.conf"))];
        if !at("").contains(':') {
            // The empty first entry of PHP is its built-in folder.
            variables.extend([("HGRCPATH", at("hgrc")), ("PHP_INI_SCAN_DIR", format!(":{}", at("php")))]);
        }
        variables
    }

    /// Writes the small files into the folder `dir`, which clients see at [`TrustFiles::in_dir`] or in `moved`.
    ///
    /// # Errors
    /// A file or folder that cannot be written.
    pub fn write_settings(&self, dir: &Path) -> io::Result<()> {
        let bundle = self.bundle().display().to_string();
        make_dir(dir)?;
        make_dir(&dir.join("php"))?;
        // HGRCPATH replaces all of Mercurial's own files, so they are included; missing files are skipped.
        let hgrc = format!(
            "%include /etc/mercurial/hgrc\n%include ~/.config/hg/hgrc\n%include ~/.hgrc\n[web]\ncacerts = {bundle}\n"
        );
        for (name, text) in [
            ("wgetrc", format!("ca_certificate = {bundle}\n")),
            ("apt.conf", format!("Acquire::https::CAInfo \"{bundle}\";\n")),
            ("hgrc", hgrc),
            ("php/egret.ini", format!("openssl.cafile = \"{bundle}\"\ncurl.cainfo = \"{bundle}\"\n")),
        ] {
            write(&dir.join(name), &text)?;
        }
        Ok(())
    }

    /// The same files for a sandbox that sees this folder at `ca_path`. The small files contain paths of others, so they are
    /// written for each such path, below `trust/moved/`.
    ///
    /// # Errors
    /// The problem with the path, as a sentence, or a file that cannot be written.
    pub(crate) fn moved(&self, ca_path: &str) -> Result<Self, MoveError> {
        let seen = check(ca_path).map_err(MoveError::Path)?;
        let name = seen.replace('/', "%");
        let own = self.dir.join(MOVED).join(&name);
        if !own.exists() {
            let number = fs::read_dir(self.dir.join(MOVED)).map_or(0, Iterator::count);
            if number >= MAX_MOVED {
                let full =
                    format!("there are {MAX_MOVED} different paths already; remove folders below {MOVED}/ in trust/");
                return Err(MoveError::Path(full));
            }
        }
        let moved = Self { dir: seen.into(), settings: Path::new(seen).join(MOVED).join(&name) };
        let written = make_dir(&self.dir.join(MOVED)).and_then(|()| moved.write_settings(&own));
        written.map_err(MoveError::Write)?;
        Ok(moved)
    }
}

/// Why there are no files for another path.
#[derive(Debug)]
pub(crate) enum MoveError {
    /// The path cannot be used.
    Path(String),
    /// A file cannot be written.
    Write(io::Error),
}

/// The path without a trailing slash. It is written into files of five formats, so it may contain only characters that have no special
/// meaning in any of them.
fn check(ca_path: &str) -> Result<&str, String> {
    let seen = ca_path.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@=".contains(c);
    if !seen.starts_with('/') || seen.len() > MAX_CA_PATH_BYTES || !seen.chars().all(plain) {
        return Err(format!(
            "{ca_path:?} is not a path at which a sandbox can see trust/: write an absolute path of at most {MAX_CA_PATH_BYTES} \
             letters, digits and / . _ - + @ ="
        ));
    }
    Ok(seen)
}

/// Creates a folder that every user may read, whatever the umask.
fn make_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes a file that every user may read: to a temporary file, then renamed, if its text has changed.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_name_the_bundle_where_the_client_sees_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = TrustFiles::in_dir(folder.path());
        files.write_settings(folder.path()).unwrap();
        let moved = files.moved("/etc/egret/trust/").unwrap();
        let own = folder.path().join("moved/%etc%egret%trust");
        for name in ["wgetrc", "apt.conf", "hgrc", "php/egret.ini"] {
            let text = |dir: &Path| fs::read_to_string(dir.join(name)).unwrap();
            assert!(text(folder.path()).contains(&files.bundle().display().to_string()), "{name}");
            assert!(text(&own).contains("/etc/egret/trust/bundle.pem"), "{name}");
            assert_eq!(fs::metadata(own.join(name)).unwrap().permissions().mode() & 0o777, 0o644, "{name}");
        }
        assert_eq!(moved.ca(), Path::new("/etc/egret/trust/ca.pem"));
        let variables = moved.variables();
        assert_eq!(variables[0], ("WGETRC", "/etc/egret/trust/moved/%etc%egret%trust/wgetrc".to_owned()));
        assert_eq!(variables[3], ("PHP_INI_SCAN_DIR", ":/etc/egret/trust/moved/%etc%egret%trust/php".to_owned()));
    }

    #[test]
    fn paths_that_a_file_would_read_differently_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = TrustFiles::in_dir(folder.path());
        for path in
            ["", "/", "relative", "/a b", "/a\"b", "/a\nb", "/a%b", "/a:b", "/$HOME", &format!("/{}", "a".repeat(200))]
        {
            assert!(matches!(files.moved(path), Err(MoveError::Path(_))), "{path:?}");
        }
        for number in 0..MAX_MOVED {
            files.moved(&format!("/at/{number}")).unwrap();
        }
        assert!(files.moved("/at/0").is_ok());
        assert!(matches!(files.moved("/at/more"), Err(MoveError::Path(_))));
    }
}
