//! Certificates in files that people write: every one is read, or an error names the line of one that cannot be read.
//!
//! The usual readers of PEM require each border on a line of its own and skip lines that they do not recognize. A skipped
//! certificate is noticed much later, as an upstream that is not trusted. So borders are searched for as bytes, and any other text
//! that looks like a certificate is an error.

use rustls_pki_types::CertificateDer;

/// The borders of a block (RFC 7468 section 3).
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// The text of a line that was meant as a border, even if it is misspelled.
const MEANT: &[u8] = b"CERTIFICATE";

/// In DER: serverAuth (RFC 5280 section 4.2.1.12) and anyExtendedKeyUsage.
const FOR_SERVERS: [&[u8]; 2] = [b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01", b"\x06\x04\x55\x1d\x25\x00"];

/// A certificate, and the line at which its block begins.
pub(crate) struct Found {
    pub(crate) line: usize,
    pub(crate) certificate: CertificateDer<'static>,
}

/// The problem, and its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: usize,
    pub(crate) why: &'static str,
}

/// All certificates of a file; skips blocks of other kinds, such as keys.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<Found>, Fault> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = find(text, at, BEGIN) {
        check_between(text, at, begin)?;
        let line = line_of(text, begin);
        let fault = |why| Fault { line, why };
        let label_start = begin + BEGIN.len();
        let label_end = find(text, label_start, DASHES).ok_or_else(|| fault("a block has no end of its first line"))?;
        let label = text.get(label_start..label_end).unwrap_or_default();
        let last = [END, label, DASHES].concat();
        let end =
            find(text, label_end, &last).ok_or_else(|| fault("a block has no END line, or one of another kind"))?;
        if find(text, label_end, BEGIN).is_some_and(|next| next < end) {
            return Err(fault("a block has no END line, or one of another kind"));
        }
        at = end + last.len();
        let block = text.get(begin..at).unwrap_or_default();
        match label {
            b"CERTIFICATE" | b"X509 CERTIFICATE" => {
                found.push(Found { line, certificate: decoded(block, line)?.into() })
            }
            b"TRUSTED CERTIFICATE" => found.push(Found { line, certificate: trusted(decoded(block, line)?, line)? }),
            _ => {}
        }
    }
    check_between(text, at, text.len())?;
    Ok(found)
}

/// The text outside of the blocks may be comments, but not a border.
fn check_between(text: &[u8], from: usize, to: usize) -> Result<(), Fault> {
    let between = text.get(from..to).unwrap_or_default();
    let mut start = from;
    for line in between.split_inclusive(|byte| *byte == b'\n') {
        let has = |part: &[u8]| find(line, 0, part).is_some();
        if has(MEANT) && has(b"--") && (has(b"BEGIN") || has(b"END")) {
            return Err(Fault {
                line: line_of(text, start),
                why: "a line looks like the border of a certificate and is none",
            });
        }
        start += line.len();
    }
    Ok(())
}

fn decoded(block: &[u8], line: usize) -> Result<Vec<u8>, Fault> {
    pem::parse(block).map(pem::Pem::into_contents).map_err(|_| Fault { line, why: "a certificate is damaged PEM" })
}

/// A certificate followed by OpenSSL's trust settings (X509_CERT_AUX): a sequence of trusted uses, then one of rejected uses, both
/// optional. A certificate that its owner does not trust for servers is not read as a trust anchor.
fn trusted(der: Vec<u8>, line: usize) -> Result<CertificateDer<'static>, Fault> {
    let damaged = Fault { line, why: "a trusted certificate is damaged" };
    let (certificate, settings) = element(&der).ok_or(damaged)?;
    if !settings.is_empty() {
        let (sequence, _) = element(settings).ok_or(damaged)?;
        let mut rest = sequence.get(header(sequence).ok_or(damaged)?..).unwrap_or_default();
        while let Some((part, next)) = element(rest) {
            let names_servers = FOR_SERVERS.iter().any(|usage| find(part, 0, usage).is_some());
            match part.first() {
                Some(0x30) if !names_servers => return Err(not_for_servers(line)),
                Some(0xa0) if names_servers => return Err(not_for_servers(line)),
                _ => {}
            }
            rest = next;
        }
    }
    Ok(certificate.to_vec().into())
}

fn not_for_servers(line: usize) -> Fault {
    Fault {
        line,
        why: "the settings of a trusted certificate do not trust it for servers; remove it, or write it as CERTIFICATE",
    }
}

/// The first DER element with its header, and the bytes after it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let content = length(der)?;
    let whole = header(der)?.checked_add(content)?;
    Some((der.get(..whole)?, der.get(whole..)?))
}

/// The bytes of an element's tag and length.
fn header(der: &[u8]) -> Option<usize> {
    let first = *der.get(1)?;
    Some(2 + if first & 0x80 == 0 { 0 } else { usize::from(first & 0x7f) })
}

/// The bytes of an element's content; no certificate needs more than four bytes for it.
fn length(der: &[u8]) -> Option<usize> {
    let first = *der.get(1)?;
    if first & 0x80 == 0 {
        return Some(usize::from(first));
    }
    let bytes = der.get(2..header(der)?).filter(|bytes| (1..=4).contains(&bytes.len()))?;
    Some(bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

fn find(text: &[u8], from: usize, part: &[u8]) -> Option<usize> {
    text.get(from..)?.windows(part.len()).position(|window| window == part).map(|at| from + at)
}

/// From 1.
fn line_of(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, Vec<u8>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let text = crate::ca::pem(certificate.der());
        (text, certificate.der().to_vec())
    }

    fn read(text: &str) -> Result<Vec<(usize, Vec<u8>)>, Fault> {
        certificates(text.as_bytes())
            .map(|all| all.into_iter().map(|one| (one.line, one.certificate.to_vec())).collect())
    }

    #[test]
    fn every_certificate_is_read_however_the_file_was_made() {
        let ((a, a_der), (b, b_der)) = (made(), made());
        let lines = a.lines().count();
        let both = |second: usize| Ok(vec![(1, a_der.clone()), (second, b_der.clone())]);
        assert_eq!(read(&format!("{a}{b}")), both(lines + 1));
        assert_eq!(read(&format!("\u{feff}{a}\u{feff}{b}")), both(lines + 1));
        assert_eq!(read(&format!("{a}{b}").replace('\n', "\r\n")), both(lines + 1));
        assert_eq!(
            read(&format!("{}{}", a.trim_end(), b.trim_end())),
            both(lines),
            "glued, and without a last line end"
        );
        assert_eq!(read(&format!("{}{}", a.replace('\n', ""), b.replace('\n', ""))), both(1), "all in one line");
        assert_eq!(read(&format!("{a}# CN=b, its CERTIFICATE\nsubject=b\n{b}\n\n")), both(lines + 3));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(read(&format!("{a}{key}{b}")), both(lines + 4));
        assert_eq!(read(&a.replace(" CERTIFICATE", " X509 CERTIFICATE")), Ok(vec![(1, a_der.clone())]));
        assert_eq!(read("no certificate"), Ok(vec![]));
    }

    #[test]
    fn a_certificate_that_is_not_read_is_named_by_its_line() {
        let (a, _) = made();
        let cut: String = a.lines().take(3).map(|line| format!("{line}\n")).collect();
        let second = a.lines().count() + 1;
        for (text, line) in [
            (format!("{a}{cut}"), second),
            (format!("{cut}{a}"), 1),
            (format!("{a}-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"), second),
            (format!("{a}{}", a.replace("-----BEGIN", "----BEGIN")), second),
            (format!("{a}{}", a.replace("-----BEGIN C", "----- BEGIN C")), second),
            (format!("{a}-----BEGIN CERTIFICATE"), second),
            (format!("{a}{}", a.replace("END CERTIFICATE", "END TRUSTED CERTIFICATE")), second),
            (a.replace('\n', "\\n"), 1),
        ] {
            assert_eq!(read(&text).map_err(|fault| fault.line), Err(line), "{text}");
        }
    }

    #[test]
    fn trust_settings_of_openssl_count() {
        let (_, der) = made();
        let sequence = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
        let (server, email) = (FOR_SERVERS[0], b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x04".as_slice());
        let alias = sequence(0x0c, b"name");
        for (settings, is_taken) in [
            (vec![], true),
            (sequence(0x30, &alias), true),
            (sequence(0x30, &sequence(0x30, server)), true),
            (sequence(0x30, &[sequence(0x30, &[email, server].concat()), sequence(0xa0, email)].concat()), true),
            (sequence(0x30, &sequence(0x30, email)), false),
            (sequence(0x30, &sequence(0xa0, server)), false),
            (vec![0x30, 9], false),
        ] {
            let block = pem::Pem::new("TRUSTED CERTIFICATE", [&der[..], &settings].concat());
            let found = read(&pem::encode(&block));
            assert_eq!(found.is_ok(), is_taken, "{settings:x?}");
            assert!(found.is_err() || found == Ok(vec![(1, der.clone())]));
        }
    }
}
