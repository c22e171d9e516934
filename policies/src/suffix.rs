//! Who can get a name under a suffix, by the Public Suffix List.

/// The entry of the list for the name after a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suffix {
    /// Somebody owns it with all that is below.
    Owned,
    /// A registry sells names below it: `com`, `co.uk`.
    Registry,
    /// A service gives names below it to its customers: `github.io`.
    Service,
}

/// Judges a canonical name. A top-level domain that is not in the list, such as `internal`, counts as a
/// registry, as does every name of one label.
pub(crate) fn of(name: &str) -> Suffix {
    match psl::suffix(name.as_bytes()) {
        Some(suffix) if suffix.as_bytes().len() == name.len() => match suffix.typ() {
            Some(psl::Type::Private) => Suffix::Service,
            Some(psl::Type::Icann) | None => Suffix::Registry,
        },
        Some(_) | None => Suffix::Owned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_told_from_names_that_somebody_owns() {
        for name in ["com", "co.uk", "internal", "xn--p1ai"] {
            assert_eq!(of(name), Suffix::Registry, "{name}");
        }
        assert_eq!(of("github.io"), Suffix::Service);
        for name in ["example.com", "example.co.uk", "acme.github.io", "corp.internal"] {
            assert_eq!(of(name), Suffix::Owned, "{name}");
        }
    }
}
