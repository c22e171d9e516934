//! A disk that loses writes: after a loss of power, written bytes that were not synced may be there, or not, or in
//! pieces.

use std::collections::BTreeMap;
use std::path::Path;

/// The smallest units of writes of a disk, and of a file system.
const PIECES: [usize; 2] = [512, 4096];
/// Crash states drawn at random after each step, for each size of piece.
const DRAWS: u64 = 40;

/// The files of one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk(BTreeMap<String, Vec<u8>>);

impl Disk {
    pub(crate) fn of(folder: &Path) -> Self {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        });
        Self(files.collect())
    }

    pub(crate) fn write(&self, folder: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        for (name, bytes) in &self.0 {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// One call that changes the folder.
#[derive(Debug)]
pub(crate) enum Step {
    Create(String),
    Write(String, Vec<u8>),
    Sync(String),
    Rename(String, String),
    Remove(String),
    SyncFolder,
}

impl Step {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Write(..) => "write",
            Self::Sync(_) => "sync",
            Self::Rename(..) => "rename",
            Self::Remove(_) => "remove",
            Self::SyncFolder => "sync folder",
        }
    }
}

/// Parses the output of strace with `-y -xx`: the calls that affected this folder.
pub(crate) fn steps(log: &str, folder: &Path) -> Vec<Step> {
    let folder = folder.to_str().unwrap();
    let mut steps = Vec::new();
    for line in log.lines() {
        let Some((_, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let (Some((name, rest)), false) = (call.split_once('('), call.contains(") = -1")) else { continue };
        let texts: Vec<Vec<u8>> = rest.split(['"', '<', '>']).filter_map(hex).collect();
        let text = |number: usize| texts.get(number).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let here = |number: usize| {
            let path = text(number)?;
            if path == folder {
                Some(String::new())
            } else {
                path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned)
            }
        };
        match name {
            "openat" if rest.contains("O_CREAT") => steps.extend(here(1).or_else(|| here(0)).map(Step::Create)),
            "write" => steps.extend(here(0).map(|file| Step::Write(file, texts[1].clone()))),
            "fsync" | "fdatasync" => steps.extend(here(0).map(|file| match file.as_str() {
                "" => Step::SyncFolder,
                _ => Step::Sync(file),
            })),
            "rename" => steps.extend(here(0).zip(here(1)).map(|(from, to)| Step::Rename(from, to))),
            "unlink" => steps.extend(here(0).map(Step::Remove)),
            "openat" => {}
            other => assert!(here(0).is_none() && here(1).is_none(), "a call that is not known here: {other}"),
        }
    }
    steps
}

/// `\x2f\x61..` as bytes; `None` for any other text.
fn hex(text: &str) -> Option<Vec<u8>> {
    text.starts_with("\\x").then(|| {
        text.split("\\x").skip(1).map(|digits| u8::from_str_radix(digits.get(..2).unwrap(), 16).unwrap()).collect()
    })
}

/// A file by its durable content, and the writes since.
#[derive(Clone, Default)]
struct Inode {
    certain: Vec<u8>,
    since: Vec<u8>,
}

/// The drawn states in which a loss of power after each of the steps can leave the folder.
pub(crate) fn crashes(before: &Disk, steps: &[Step]) -> Vec<Disk> {
    let mut inodes: Vec<Inode> = Vec::new();
    let mut certain: BTreeMap<String, usize> = BTreeMap::new();
    for (name, bytes) in &before.0 {
        certain.insert(name.clone(), inodes.len());
        inodes.push(Inode { certain: bytes.clone(), since: bytes.clone() });
    }
    // The visible folder, and the changes to it since it was synced, in order.
    let mut seen = certain.clone();
    let mut changes: Vec<BTreeMap<String, usize>> = Vec::new();
    let mut found = Vec::new();
    let mut random = Random(1);
    for step in steps {
        match step {
            Step::Create(name) => {
                seen.insert(name.clone(), inodes.len());
                inodes.push(Inode::default());
                changes.push(seen.clone());
            }
            Step::Write(name, bytes) => inodes[seen[name]].since.extend_from_slice(bytes),
            Step::Sync(name) => {
                let inode = &mut inodes[seen[name]];
                inode.certain = inode.since.clone();
            }
            Step::Rename(from, to) => {
                let inode = seen.remove(from).unwrap();
                seen.insert(to.clone(), inode);
                changes.push(seen.clone());
            }
            Step::Remove(name) => {
                seen.remove(name);
                changes.push(seen.clone());
            }
            Step::SyncFolder => {
                certain = seen.clone();
                changes.clear();
            }
        }
        for folder in std::iter::once(&certain).chain(&changes) {
            for piece in PIECES {
                for _ in 0..DRAWS {
                    let files =
                        folder.iter().map(|(name, inode)| (name.clone(), torn(&inodes[*inode], piece, &mut random)));
                    found.push(Disk(files.collect()));
                }
            }
        }
    }
    found
}

/// A possible remainder of a file: each piece is the durable one, a later write, or zeros; of any length between.
fn torn(inode: &Inode, piece: usize, random: &mut Random) -> Vec<u8> {
    if inode.certain == inode.since {
        return inode.certain.clone();
    }
    let longest = inode.since.len().max(inode.certain.len());
    let mut left = vec![0; longest];
    for (number, target) in left.chunks_mut(piece).enumerate() {
        let source = match random.below(3) {
            0 => &inode.certain,
            1 => &inode.since,
            _ => continue,
        };
        for (at, byte) in target.iter_mut().enumerate() {
            *byte = source.get(number * piece + at).copied().unwrap_or_default();
        }
    }
    match random.below(3) {
        0 => left.truncate(inode.certain.len()),
        1 => left.truncate(random.below(longest as u64 + 1) as usize),
        _ => {}
    }
    left
}

/// A generator of Knuth's (MMIX), so that each run draws the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
