//! Real clients: each through a sidecar that runs (`serve` and `session create`) and through `egret run`.
//! The secret arrives at the origin, and is nowhere where the client could see it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use egret_tests::canary::{Canary, hex, random_bytes};
use egret_tests::egret::Session;
use egret_tests::origin::body;
use egret_tests::scene::{Scene, Stage};
use egret_tests::shared::Shared;
use egret_tests::tools::{self, program};
use sha2::{Digest, Sha256, Sha512};

use crate::world::World;

static SHARED: Shared<Clients> = Shared::new();

const POLICY: &str = r#"
policy: clients
rules:
  - id: api
    allow: {host: [api.origin.test, bulk.origin.test], port: PORT, LOCAL}
    use: [token]
  - id: packages
    allow: {host: [pypi.origin.test, npm.origin.test, crates.origin.test], port: PORT, methods: [GET, HEAD], LOCAL}
    use: [token]
  - id: git
    allow: {host: git.origin.test, port: PORT, methods: [GET, POST], path: /git/**, LOCAL}
    use: [git]
"#;

const HOSTS: &[&str] = &[
    "api.origin.test",
    "bulk.origin.test",
    "pypi.origin.test",
    "npm.origin.test",
    "crates.origin.test",
    "git.origin.test",
];

struct Clients {
    world: World,
    token: Canary,
    password: Canary,
    session: Session,
}

impl Clients {
    fn new() -> Self {
        let world = World::new(HOSTS, &[POLICY], |setup| setup.logging("info"));
        let targets: Vec<String> = HOSTS.iter().map(|host| world.target(host)).collect();
        let mut options = vec!["--kind", "bearer", "--env", "CLIENT_TOKEN"];
        options.extend(targets[..5].iter().flat_map(|target| ["--audience", target.as_str()]));
        let token = world.egret.put("token", &options);
        let password = Canary::new("git");
        world.egret.put_value(
            "git",
            &["--kind", "basic", "--audience", &targets[5]],
            &format!("robot:{}", password.value()),
        );
        world.egret.watch(password.clone());
        for host in &HOSTS[..5] {
            world.origin.require(host, "authorization", &format!("Bearer {}", token.value()));
        }
        let pair = STANDARD.encode(format!("robot:{}", password.value()));
        world.origin.require("git.origin.test", "authorization", &format!("Basic {pair}"));
        let session = world.egret.session(&["clients"], &["token", "git"]);
        Self { world, token, password, session }
    }

    /// `https://host:port`.
    fn url(&self, host: &str) -> String {
        format!("https://{}", self.world.target(host))
    }

    /// Runs `client` both ways; each must succeed.
    fn both_ways(&self, client: impl Fn(&mut Scene<'_>)) {
        let (egret, session) = (&self.world.egret, &self.session);
        let (credentials, secrets) = (["token", "git"], [&self.token, &self.password]);
        let stage = Stage { egret, session, policy: "clients", credentials: &credentials, secrets: &secrets };
        stage.both_ways(client);
    }
}

fn clients() -> Arc<Clients> {
    SHARED.get(Clients::new)
}

#[test]
fn the_environment_of_a_client() {
    let it = clients();
    it.both_ways(|scene| {
        let text = scene.run(&program("env"), &[], &[]);
        let env: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        for name in [
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "NO_PROXY",
            "no_proxy",
            "SSL_CERT_FILE",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
            "GIT_SSL_CAINFO",
            "AWS_CA_BUNDLE",
            "CARGO_HTTP_CAINFO",
            "npm_config_cafile",
            "PIP_CERT",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
            "WEBSOCKET_CLIENT_CA_BUNDLE",
            "NODE_USE_ENV_PROXY",
            "JAVA_TOOL_OPTIONS",
            "WGETRC",
            "APT_CONFIG",
            "HGRCPATH",
            "PHP_INI_SCAN_DIR",
        ] {
            assert!(env.contains_key(name), "{name} is not set ({:?})", scene.way);
        }
        assert!(env["CLIENT_TOKEN"].contains("egret_ph_"), "{:?}", env["CLIENT_TOKEN"]);
    });
}

#[test]
fn run_gives_the_commands_own_code() {
    let it = clients();
    for code in [0, 7] {
        let output = it.world.egret.run(&["run", "--policy", "clients", "--", "sh", "-c", &format!("exit {code}")], "");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
}

#[test]
fn curl_over_both_protocols() {
    let it = clients();
    it.both_ways(|scene| {
        for version in ["--http1.1", "--http2"] {
            let mark = format!("/curl{version}-{:?}", scene.way);
            let url = format!("{}{mark}", it.url("api.origin.test"));
            let args = ["-sS", "--fail", version, "-o", "body", "-w", "%{http_version}", &url];
            let spoken = scene.run(&program("curl"), &args, &[]);
            assert_eq!(spoken, if version == "--http2" { "2" } else { "1.1" });
            assert_eq!(
                it.world.origin.seen_once(&mark).values("authorization"),
                [format!("Bearer {}", it.token.value())]
            );
        }
        // A refusal reaches the user of curl: the code is in the status line.
        let output = scene.output(&program("curl"), &["-sSv", "https://elsewhere.origin.test/"], &[]);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("denied_host"), "{output:?}");
        // The placeholder, sent by the client itself.
        let script = format!(
            "curl -sS --fail -o body -H \"Authorization: Bearer $CLIENT_TOKEN\" {}/curl-swapped",
            it.url("api.origin.test")
        );
        scene.run(&program("sh"), &["-c", &script], &[]);
    });
}

/// A repository with `mebibytes` of bytes that no coder makes smaller.
fn repository(folder: &Path, mebibytes: usize) -> PathBuf {
    let work = folder.join("seed");
    std::fs::create_dir_all(&work).unwrap();
    for number in 0..mebibytes / 5 {
        std::fs::write(work.join(format!("blob-{number}")), random_bytes(5 << 20)).unwrap();
    }
    let git = |args: &[&str]| tools::succeed(Command::new(program("git")).args(args).current_dir(&work));
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["-c", "user.name=t", "-c", "user.email=t@origin.test", "-c", "gc.auto=0", "commit", "-q", "-m", "seed"]);
    work
}

#[test]
fn git_clone_and_push_of_50_mebibytes() {
    let it = clients();
    let seed_folder = tempfile::tempdir().unwrap();
    let seed = repository(seed_folder.path(), 50);
    let root = it.world.origin.packages(|packages| packages.git_root().to_owned());
    it.both_ways(|scene| {
        let name = format!("{:?}.git", scene.way).to_lowercase();
        tools::succeed(Command::new(program("git")).args(["clone", "-q", "--bare"]).arg(&seed).arg(root.join(&name)));
        let url = format!("{}/git/{name}", it.url("git.origin.test"));
        let git = program("git");
        let quiet = [("GIT_TERMINAL_PROMPT", "0")];
        scene.run(&git, &["clone", "-q", &url, "clone"], &quiet);
        for number in 0..10 {
            let blob = format!("blob-{number}");
            let same = std::fs::read(seed.join(&blob)).unwrap()
                == std::fs::read(scene.folder.join("clone").join(&blob)).unwrap();
            assert!(same, "{blob} changed on its way");
        }
        let bytes = random_bytes(50 << 20);
        std::fs::write(scene.folder.join("clone/pushed"), &bytes).unwrap();
        let in_clone = |args: &[&str]| {
            let args: Vec<&str> = ["-C", "clone", "-c", "user.name=t", "-c", "user.email=t@origin.test"]
                .iter()
                .chain(args)
                .copied()
                .collect();
            scene.run(&git, &args, &quiet)
        };
        in_clone(&["add", "."]);
        in_clone(&["commit", "-q", "-m", "pushed"]);
        in_clone(&["push", "-q", "origin", "main"]);
        let here = in_clone(&["rev-parse", "HEAD"]);
        let there = tools::succeed(Command::new(&git).arg("-C").arg(root.join(&name)).args(["rev-parse", "main"]));
        assert_eq!(here.lines().last(), there.lines().last());
        std::fs::remove_dir_all(scene.folder.join("clone")).unwrap();
    });
}

/// A package for pip, with the name of its file.
pub(crate) fn wheel(package: &str) -> (String, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let make = r#"
import zipfile, base64, hashlib
files = {"PACKAGE.py": "VALUE = 42\n",
         "PACKAGE-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: PACKAGE\nVersion: 1.0\n",
         "PACKAGE-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: egret\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
record = ""
for name, text in files.items():
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    record += f"{name},sha256={digest},{len(text)}\n"
files["PACKAGE-1.0.dist-info/RECORD"] = record + "PACKAGE-1.0.dist-info/RECORD,,\n"
with zipfile.ZipFile("PACKAGE-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
"#;
    let make = make.replace("PACKAGE", package);
    tools::succeed(Command::new(program("python3")).args(["-c", &make]).current_dir(folder.path()));
    let name = format!("{package}-1.0-py3-none-any.whl");
    let wheel = std::fs::read(folder.path().join(&name)).unwrap();
    (name, wheel)
}

#[test]
fn pip_install() {
    let it = clients();
    let (name, wheel) = wheel("canarypkg");
    let page = format!(
        "<html><body><a href=\"/files/{name}#sha256={}\">{name}</a></body></html>",
        hex(&Sha256::digest(&wheel))
    );
    it.world.origin.packages(|packages| {
        packages.put("/simple/canarypkg/", "text/html", page);
        packages.put(&format!("/files/{name}"), "application/octet-stream", wheel);
    });
    let python = tools::python();
    it.both_ways(|scene| {
        tools::succeed(Command::new(&python).args(["-m", "venv"]).arg(scene.folder.join("venv")));
        let own = scene.folder.join("venv/bin/python");
        let index = format!("{}/simple/", it.url("pypi.origin.test"));
        scene.run(
            &own,
            &[
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                "--no-cache-dir",
                "--index-url",
                &index,
                "canarypkg",
            ],
            &[],
        );
        let printed = tools::succeed(Command::new(&own).args(["-c", "import canarypkg; print(canarypkg.VALUE)"]));
        assert_eq!(printed.trim(), "42");
    });
}

/// A gzip-coded tar of one folder.
fn tarball(folder: &Path, name: &str) -> Vec<u8> {
    let output = tools::output(Command::new(program("tar")).args(["-czf", "-", name]).current_dir(folder));
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn npm_install_of_a_scoped_package() {
    let it = clients();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("package")).unwrap();
    std::fs::write(
        folder.path().join("package/package.json"),
        r#"{"name":"@canary/pkg","version":"1.0.0","main":"index.js"}"#,
    )
    .unwrap();
    std::fs::write(folder.path().join("package/index.js"), "module.exports = 42;\n").unwrap();
    let packed = tarball(folder.path(), "package");
    let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(&packed)));
    let registry = format!("{}/npm/", it.url("npm.origin.test"));
    let document = serde_json::json!({
        "name": "@canary/pkg",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": {
            "name": "@canary/pkg", "version": "1.0.0", "main": "index.js",
            "dist": {"tarball": format!("{registry}@canary/pkg/-/pkg-1.0.0.tgz"), "integrity": integrity},
        }},
    });
    it.world.origin.packages(|packages| {
        packages.put("/npm/@canary%2fpkg", "application/json", document.to_string());
        packages.put("/npm/@canary/pkg/-/pkg-1.0.0.tgz", "application/octet-stream", packed);
    });
    it.both_ways(|scene| {
        scene.write("package.json", r#"{"name":"host","version":"1.0.0","private":true}"#);
        let option = format!("--registry={registry}");
        scene.run(
            &program("npm"),
            &["install", "--no-audit", "--no-fund", "--no-update-notifier", &option, "@canary/pkg"],
            &[],
        );
        let printed = tools::succeed(
            Command::new(program("node")).args(["-p", "require('@canary/pkg')"]).current_dir(&scene.folder),
        );
        assert_eq!(printed.trim(), "42");
    });
}

#[test]
fn cargo_fetch_from_a_sparse_registry() {
    let it = clients();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("canary-crate-1.0.0");
    std::fs::create_dir_all(source.join("src")).unwrap();
    std::fs::write(
        source.join("Cargo.toml"),
        "[package]\nname = \"canary-crate\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
    )
    .unwrap();
    std::fs::write(source.join("src/lib.rs"), "pub const VALUE: u8 = 42;\n").unwrap();
    let packed = tarball(folder.path(), "canary-crate-1.0.0");
    let line = serde_json::json!({
        "name": "canary-crate", "vers": "1.0.0", "deps": [], "cksum": hex(&Sha256::digest(&packed)), "features": {}, "yanked": false,
    });
    let base = it.url("crates.origin.test");
    it.world.origin.packages(|packages| {
        packages.put(
            "/index/config.json",
            "application/json",
            format!("{{\"dl\": \"{base}/crates/{{crate}}-{{version}}.crate\"}}"),
        );
        packages.put("/index/ca/na/canary-crate", "text/plain", format!("{line}\n"));
        packages.put("/crates/canary-crate-1.0.0.crate", "application/octet-stream", packed);
    });
    // The program itself: the proxy of rustup would look for its own home.
    let sysroot = tools::succeed(Command::new("rustc").args(["--print", "sysroot"]));
    let bin = Path::new(sysroot.trim()).join("bin");
    let (cargo, rustc) = (bin.join("cargo"), bin.join("rustc").display().to_string());
    it.both_ways(|scene| {
        scene.write("host/src/lib.rs", "");
        scene.write(
            "host/Cargo.toml",
            "[package]\nname = \"host\"\nversion = \"1.0.0\"\nedition = \"2021\"\n[dependencies]\ncanary-crate = {version = \"1\", registry = \"canary\"}\n[workspace]\n",
        );
        scene.write("host/.cargo/config.toml", &format!("[registries.canary]\nindex = \"sparse+{base}/index/\"\n"));
        let manifest = scene.folder.join("host/Cargo.toml").display().to_string();
        let home = scene.folder.join("cargo-home").display().to_string();
        let config = format!("registries.canary.index='sparse+{base}/index/'");
        scene.run(&cargo, &["fetch", "--config", &config, "--manifest-path", &manifest], &[("CARGO_HOME", &home), ("RUSTC", &rustc)]);
        assert!(scene.folder.join("host/Cargo.lock").exists());
    });
}

#[test]
fn python_requests_and_httpx() {
    let it = clients();
    let url = it.url("api.origin.test");
    let requests = format!(
        "import os, requests\nr = requests.post('{url}/python-requests', data=b'body')\nassert r.status_code == 200, r.text\n\
         r = requests.get('{url}/python-swapped', headers={{'Authorization': 'Bearer ' + os.environ['CLIENT_TOKEN']}})\n\
         assert r.status_code == 200, r.text\nprint(dict(r.headers), r.text)\n"
    );
    let httpx = format!(
        "import httpx\nfor h2 in (False, True):\n    with httpx.Client(http2=h2) as c:\n        r = c.get('{url}/python-httpx')\n        \
         assert r.status_code == 200, r.text\n        assert r.http_version == ('HTTP/2' if h2 else 'HTTP/1.1')\n        print(r.text)\n"
    );
    it.both_ways(|scene| {
        scene.run(&tools::python(), &["-c", &requests], &[]);
        scene.run(&tools::python(), &["-c", &httpx], &[]);
    });
    assert!(it.world.origin.seen("/python-").len() >= 8);
}

#[test]
fn node_undici() {
    let it = clients();
    let script = format!(
        "const {{ EnvHttpProxyAgent, fetch }} = require('undici');\n(async () => {{\n  const dispatcher = new EnvHttpProxyAgent();\n  \
         const r = await fetch('{}/node-undici', {{ dispatcher, method: 'POST', body: 'x' }});\n  if (r.status !== 200) throw new Error(await r.text());\n  \
         console.log(await r.text());\n}})();\n",
        it.url("api.origin.test")
    );
    let modules = tools::node_modules().display().to_string();
    it.both_ways(|scene| {
        let path = scene.write("undici.js", &script);
        scene.run(&program("node"), &[&path], &[("NODE_PATH", &modules)]);
    });
    assert_eq!(it.world.origin.seen("/node-undici").len(), 2);
}

const GIBIBYTE: u64 = 1 << 30;

#[test]
fn a_gibibyte_each_way_in_64_mebibytes_of_memory() {
    // A sidecar of its own: its peak memory is that of these transfers.
    let it = Clients::new();
    let folder = tempfile::tempdir().unwrap();
    let big = folder.path().join("big");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&big).unwrap());
    for piece in body::generated(GIBIBYTE) {
        std::io::Write::write_all(&mut file, &piece).unwrap();
    }
    drop(file);
    let want = body::generated_hash(GIBIBYTE);
    let url = it.url("bulk.origin.test");
    it.both_ways(|scene| {
        for version in ["--http1.1", "--http2"] {
            let script = format!("set -o pipefail; curl -sS --fail {version} {url}/sized/{GIBIBYTE} | sha256sum");
            let printed = scene.run(&program("bash"), &["-c", &script], &[]);
            assert_eq!(printed.split(' ').next(), Some(want.as_str()), "the download changed ({version})");
        }
        let big = big.display().to_string();
        let printed =
            scene.run(&program("curl"), &["-sS", "--fail", "-T", &big, "-X", "POST", &format!("{url}/hash")], &[]);
        assert_eq!(printed.trim(), format!("{GIBIBYTE} {want}"), "the upload changed");
    });
    let peak = it.world.egret.peak_memory();
    assert!(peak < 64 * 1024, "the sidecar took {peak} KiB");
}
