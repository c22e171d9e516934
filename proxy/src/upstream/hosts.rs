//! The machine's hosts file, which precedes DNS. A name in the file is never sent to a name server, not even for an
//! address family that the file leaves out.
//!
//! hickory's reader (`hickory_resolver::Hosts` 0.26) is not used. It stores a whole DNS message for each name and family, so a blocklist
//! of 100,000 names takes 174 MB on each core. It copies all addresses of a name for each line that contains it, so 8,000 lines with one
//! name block a core for 2.3 s. It stops at the first line that is not UTF-8, so DNS would be asked for all names after it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use model::Host;
use model::text_file::without_mark;

const PATH: &str = "/etc/hosts";

/// The names of the hosts file in canonical form; read again when the file changes.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    modified: Option<SystemTime>,
    names: HashMap<Box<str>, Vec<IpAddr>>,
}

impl Hosts {
    /// The addresses of a canonical name.
    pub(crate) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.names.get(name).map(Vec::as_slice)
    }

    /// Reads the file if it has changed since.
    pub(crate) fn refresh(&mut self) {
        self.refresh_from(Path::new(PATH));
    }

    fn refresh_from(&mut self, path: &Path) {
        let modified = std::fs::metadata(path).and_then(|facts| facts.modified()).ok();
        if modified != self.modified {
            self.modified = modified;
            let bytes = std::fs::read(path).unwrap_or_default();
            self.names = parse(&String::from_utf8_lossy(without_mark(&bytes)));
        }
    }
}

/// Lines of an address and its names; invalid lines are skipped, as other readers do (hosts(5)).
fn parse(text: &str) -> HashMap<Box<str>, Vec<IpAddr>> {
    let mut names: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        for name in words.filter_map(|word| Host::parse(word).ok()) {
            let Some(name) = name.name() else { continue };
            let known = names.entry(name.into()).or_default();
            if !known.contains(&address) {
                known.push(address);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_utf8_hides_no_other() {
        let text = b"10.0.0.1 first.example\n# caf\xe9\n10.0.0.2 last.example\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut hosts = Hosts::default();
        hosts.refresh_from(file.path());
        assert_eq!(hosts.addresses("first.example"), Some(&[IpAddr::from([10, 0, 0, 1])][..]));
        assert_eq!(hosts.addresses("last.example"), Some(&[IpAddr::from([10, 0, 0, 2])][..]));
        let stops = hickory_resolver::Hosts::default().read_hosts_conf(&text[..]).unwrap_err();
        assert_eq!(stops.kind(), std::io::ErrorKind::InvalidData, "the library could be used if it went on");
    }

    #[test]
    fn the_file_is_read_and_read_again() {
        let names =
            parse("127.0.0.1 localhost\n# 1.2.3.4 no\n10.0.0.1\tA.example b.example # c.example\n::1 localhost\nx y\n");
        assert_eq!(names["localhost"], ["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(names["a.example"], names["b.example"]);
        assert_eq!(names.len(), 3);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}10.0.0.2 first.example\r\n10.0.0.3 last.example").unwrap();
        let mut hosts = Hosts::default();
        hosts.refresh_from(file.path());
        assert_eq!(hosts.addresses("first.example"), Some(&[IpAddr::from([10, 0, 0, 2])][..]));
        assert_eq!(hosts.addresses("last.example"), Some(&[IpAddr::from([10, 0, 0, 3])][..]));
        let mut hosts = Hosts::default();
        hosts.refresh_from(Path::new("/does/not/exist"));
        assert_eq!(hosts.addresses("localhost"), None);
    }
}
