//! A client program in a sandbox's environment: under a running sidecar (`serve` and `session create`), and under `egret run`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::canary::Canary;
use crate::egret::{Egret, Session};
use crate::tools;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A running sidecar, and a session that was opened before.
    Serve,
    /// A session for one command.
    Run,
}

/// The environment of clients.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// The sidecar.
    pub egret: &'a Egret,
    /// The session of [`Way::Serve`].
    pub session: &'a Session,
    /// The policy of [`Way::Run`].
    pub policy: &'a str,
    /// The credentials of [`Way::Run`].
    pub credentials: &'a [&'a str],
    /// Secrets that no client may see.
    pub secrets: &'a [&'a Canary],
}

/// One client in a folder of its own.
#[derive(Debug)]
pub struct Scene<'a> {
    stage: Stage<'a>,
    /// How it is run.
    pub way: Way,
    /// Its working folder.
    pub folder: PathBuf,
}

impl Stage<'_> {
    /// Runs `client` both ways; neither may leave a secret in its working folder.
    pub fn both_ways(&self, client: impl Fn(&mut Scene<'_>)) {
        for way in [Way::Serve, Way::Run] {
            let folder = tempfile::tempdir().unwrap();
            let mut scene = Scene { stage: *self, way, folder: folder.path().to_owned() };
            client(&mut scene);
            for canary in self.secrets {
                canary.assert_absent_below(folder.path());
            }
        }
    }
}

impl Scene<'_> {
    /// Runs a program in the sandbox's environment; it must succeed. Returns its standard output.
    pub fn run(&self, program: &Path, args: &[&str], env: &[(&str, &str)]) -> String {
        let output = self.output(program, args, env);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "{} {args:?} ({:?}) ended with {}:\n{stdout}{stderr}",
            program.display(),
            self.way,
            output.status
        );
        stdout.into_owned()
    }

    /// Runs a program to its end; it may not print a secret.
    pub fn output(&self, program: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = self.command(program, args);
        command.current_dir(&self.folder).env("HOME", &self.folder).envs(env.iter().copied());
        let output = tools::output(&mut command);
        for canary in self.stage.secrets {
            canary.assert_absent("standard output", &output.stdout);
            canary.assert_absent("standard error", &output.stderr);
        }
        output
    }

    /// The program in the sandbox's environment.
    pub fn command(&self, program: &Path, args: &[&str]) -> Command {
        let stage = &self.stage;
        match self.way {
            Way::Serve => {
                let mut command = Command::new(program);
                command.args(args).env_clear().envs(&stage.session.env);
                command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
                command
            }
            Way::Run => {
                let mut options = vec!["run", "--policy", stage.policy];
                options.extend(stage.credentials.iter().flat_map(|name| ["--credential", *name]));
                options.push("--");
                let mut command = stage.egret.command(&options);
                command.arg(program).args(args);
                command
            }
        }
    }

    /// Writes a file in the client's working folder; returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}
