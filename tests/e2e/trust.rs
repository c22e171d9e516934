//! Clients that find the bundle through a settings file beside it, at its own path and where a sandbox mounts it elsewhere.

use std::os::unix::fs::symlink;
use std::process::Command;

use egret_tests::egret::Session;
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
