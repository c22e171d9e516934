//! Clients that find the bundle through a settings file beside it, at its own path and where a sandbox mounts it elsewhere.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use egret_tests::egret::{Session, binary};
use egret_tests::tools::{self, program};

use crate::world::World;

const POLICY: &str = r#"
policy: trust
rules:
  - id: api
    allow: {host: api.origin.test, port: PORT, LOCAL}
"#;

const PHP: &str = r#"
$curl = curl_init($argv[1]);
curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
if (curl_exec($curl) === false) { fwrite(STDERR, curl_error($curl)); exit(1); }
"#;

#[test]
fn clients_with_a_settings_file_trust_the_bundle() {
    let world = World::new(&["api.origin.test"], &[POLICY], |setup| setup);
    let mount = world.egret.folder().join("mount");
    symlink(world.egret.data().join("trust"), &mount).unwrap();
    let mount = mount.display().to_string();
    let here = world.egret.session(&["trust"], &[]);
    let elsewhere = world.egret.session_with(&["trust"], &[], &["--ca-path", &mount]);
    let renewed = world.egret.session(&["trust"], &[]);
    let text = world.egret.ok(&["session", "env", &renewed.id, "--ca-path", &mount, "--format", "json"], "");
    let renewed = Session {
        env: serde_json::from_value(serde_json::from_str::<serde_json::Value>(&text).unwrap()["env"].clone()).unwrap(),
        ..renewed
    };
    for (name, session) in [("here", &here), ("elsewhere", &elsewhere), ("renewed", &renewed)] {
        let file = session.env["WGETRC"].as_str();
        assert_eq!(file.starts_with(&mount), name != "here", "{file}");
        let folder = tempfile::tempdir().unwrap();
        let run = |client: &str, program_name: &str, arguments: &[&str]| {
            let mark = format!("/{client}-{name}");
            let url = format!("https://{}{mark}", world.target("api.origin.test"));
            let mut command = Command::new(program(program_name));
            command.current_dir(folder.path()).env_clear().envs(&session.env).env("HOME", folder.path());
            command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
            tools::succeed(command.args(arguments.iter().map(|argument| argument.replace("{url}", &url))));
            world.origin.seen_once(&mark);
        };
        run("wget", "wget", &["-q", "-O", "wget", "{url}"]);
        run("hg", "hg", &["debugdownload", "-o", "hg", "{url}"]);
        run("php", "php", &["-r", PHP, "{url}"]);
        // As another user apt could not enter the folder of this test.
        run("apt", "sh", &["-c", "/usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file {url} apt"]);
    }
}

#[test]
fn other_users_reach_trust_below_folders_that_were_missing() {
    let place = tempfile::tempdir().unwrap();
    let mode = |path: &str| std::fs::metadata(place.path().join(path)).unwrap().permissions().mode() & 0o777;
    for (number, umask) in ["022", "077", "000"].into_iter().enumerate() {
        for (name, command) in [("init", "vault init"), ("run", "run -- true")] {
            let front = format!("{name}-{number}");
            let dir = place.path().join(&front).join("path/state");
            let script = format!("umask {umask}; exec {} --data-dir {} {command}", binary().display(), dir.display());
            tools::succeed(Command::new("sh").args(["-c", &script]));
            let path = |end: &str| mode(&format!("{front}/{end}"));
            assert_eq!(
                (path(""), path("path"), path("path/state"), path("path/state/trust")),
                (0o755, 0o755, 0o711, 0o755)
            );
            assert_eq!((path("path/state/journal"), path("path/state/sessions")), (0o700, 0o700));
            assert_eq!((path("path/state/vault.egret"), path("path/state/trust/bundle.pem")), (0o600, 0o644));
        }
    }
}
