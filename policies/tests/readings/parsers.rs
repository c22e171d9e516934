//! Real parsers, where they are installed: what a target's path is for Node, Python, Go, Java and nginx. With
//! `EGRET_PARSERS` set (the test task sets it, after it has installed them) a missing one is a failure.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::count;
use crate::generate::Targets;
use crate::models::Reached;
use crate::rules::{Answer, Case, cases};

/// Programs that answer each line with the paths that they read.
const PROGRAMS: [(&str, &[&str], &str); 4] = [
    ("node", &[], "node.js"),
    ("python3", &[], "python.py"),
    ("go", &["run"], "parser.go"),
    ("java", &[], "Parser.java"),
];

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readings/parsers")
}

/// The program, unless it is not installed and need not be.
fn installed(program: &str) -> Option<PathBuf> {
    // The interpreter with the frameworks is the one of the test clients.
    let own = std::env::var_os("EGRET_CLIENTS").map(|clients| PathBuf::from(clients).join("venv/bin").join(program));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|folder| folder.join(program));
    let found = own.into_iter().chain(folders).find(|file| file.is_file());
    assert!(found.is_some() || std::env::var_os("EGRET_PARSERS").is_none(), "{program} is not installed");
    found
}

/// Checks what one parser reads; counts the targets that are allowed, and those refused that it takes elsewhere.
#[derive(Debug, Default)]
struct Tally {
    allowed: usize,
    paths: usize,
    dangerous: usize,
}

impl Tally {
    fn see(&mut self, parser: &str, cases: &[Case], target: &str, reached: &[Reached]) {
        for case in cases {
            let answer = case.judge(target);
            let strays = reached.iter().find(|reached| !permits(case, reached));
            match answer {
                Answer::Allowed { .. } => {
                    self.allowed += 1;
                    self.paths += reached.len();
                    assert!(strays.is_none(), "{}: {target} is {} for {parser}", case.name, strays.unwrap());
                }
                Answer::BadTarget | Answer::Refused { .. } => {
                    self.dangerous += usize::from(strays.is_some() && case.seems_fine(target));
                }
            }
        }
    }
}

/// A path without its last slash is the folder itself, for what cleans paths.
fn permits(case: &Case, reached: &Reached) -> bool {
    let folder = Reached { path: [reached.path.as_slice(), b"/"].concat(), decoded: reached.decoded };
    case.permits(reached) || (!reached.path.ends_with(b"/") && case.permits(&folder))
}

fn targets() -> Vec<String> {
    let mut targets = Targets::seeded(0x5eed_2042);
    (0..count(4_000).min(100_000)).map(|_| targets.next()).collect()
}

/// The paths of one line of a program.
fn read_line(line: &str) -> Vec<Reached> {
    let items = line.split(' ').filter_map(|item| item.split_once(':'));
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap()).collect()
    };
    items.map(|(kind, hex)| Reached { path: bytes(hex), decoded: kind == "d" }).collect()
}

#[test]
fn t204_no_real_parser_reads_an_allowed_target_as_another_path() {
    let (cases, targets) = (cases(), targets());
    for (program, arguments, script) in PROGRAMS {
        let Some(file) = installed(program) else {
            println!("{program} is not installed");
            continue;
        };
        let mut child = Command::new(file)
            .args(arguments)
            .arg(scripts().join(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let lines = targets.join("\n") + "\n";
        let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
        let output: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        writer.join().unwrap().unwrap();
        assert!(child.wait().unwrap().success(), "{program}");
        assert_eq!(output.len(), targets.len(), "{program} answers each target");
        let mut tally = Tally::default();
        for (target, line) in targets.iter().zip(&output) {
            tally.see(program, &cases, target, &read_line(line));
        }
        println!("{program}: {tally:?}");
        assert!(tally.allowed > 0 && tally.paths > tally.allowed && tally.dangerous > 0, "{program}: {tally:?}");
    }
}

/// A running nginx, ended with this value.
struct Nginx {
    child: Child,
    folder: PathBuf,
}

impl Nginx {
    fn start(file: &Path) -> Self {
        let folder = std::env::temp_dir().join(format!("egret-nginx-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let text = fs::read_to_string(scripts().join("nginx.conf")).unwrap();
        let file_of_conf = folder.join("nginx.conf");
        fs::write(&file_of_conf, text.replace("FOLDER", folder.to_str().unwrap())).unwrap();
        let child = Command::new(file).arg("-c").arg(&file_of_conf).arg("-p").arg(&folder).spawn().unwrap();
        Self { child, folder }
    }

    /// A connection to one of its servers, as soon as there is one.
    fn connect(&self, server: &str) -> BufReader<UnixStream> {
        let socket = self.folder.join(format!("{server}.sock"));
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => return BufReader::new(stream),
                Err(error) => assert!(Instant::now() < end, "nginx does not listen: {error}"),
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

/// The path that nginx reads; `None` where it refuses the target.
fn ask(stream: &mut BufReader<UnixStream>, target: &str) -> (Option<Reached>, bool) {
    stream.get_mut().write_all(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    let (mut status, mut length, mut closes) = (String::new(), 0, false);
    stream.read_line(&mut status).unwrap();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("connection", "close")) => closes = true,
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut path = vec![0; length];
    stream.read_exact(&mut path).unwrap();
    (status.contains(" 200 ").then_some(Reached { path, decoded: true }), closes)
}

#[test]
fn t204_nginx_reads_no_allowed_target_as_another_path() {
    let Some(file) = installed("nginx") else {
        println!("nginx is not installed");
        return;
    };
    let (cases, targets, nginx) = (cases(), targets(), Nginx::start(&file));
    for server in ["merged", "unmerged"] {
        let mut stream = nginx.connect(server);
        let mut tally = Tally::default();
        for target in &targets {
            let (reached, closes) = ask(&mut stream, target);
            tally.see(&format!("nginx ({server})"), &cases, target, reached.as_slice());
            if closes {
                stream = nginx.connect(server);
            }
        }
        println!("nginx ({server}): {tally:?}");
        assert!(tally.allowed > 0 && tally.dangerous > 0, "{server}: {tally:?}");
    }
}
