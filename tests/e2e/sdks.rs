//! Clients that bring the placeholder themselves: SDKs of model APIs, gh, git and pip with a pair, a form and a JSON API. The
//! sandbox holds nothing but placeholders, and the origin gets the secret.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use egret_tests::canary::Canary;
use egret_tests::egret::Session;
use egret_tests::scene::{Scene, Stage};
use egret_tests::shared::Shared;
use egret_tests::tools::{self, program};

use crate::world::World;

static SHARED: Shared<Sdks> = Shared::new();

const HOSTS: &[&str] = &[
    "anthropic.origin.test",
    "openai.origin.test",
    "gh.origin.test",
    "git-pair.origin.test",
    "pypi-pair.origin.test",
    "oauth.origin.test",
];

const POLICY: &str = r#"
policy: sdks
rules:
  - {id: anthropic, allow: {host: anthropic.origin.test, port: PORT, methods: [POST], path: "/*/v1/messages", LOCAL}, use: [anthropic]}
  - {id: openai, allow: {host: openai.origin.test, port: PORT, methods: [POST], path: "/*/v1/chat/completions", LOCAL}, use: [openai]}
  - {id: gh, allow: {host: gh.origin.test, port: PORT, LOCAL}, use: [gh]}
  - {id: pairs, allow: {host: [git-pair.origin.test, pypi-pair.origin.test], port: PORT, LOCAL}, use: [pair]}
  - {id: oauth, allow: {host: oauth.origin.test, port: PORT, LOCAL}, use: [oauth]}
"#;

const CREDENTIALS: [&str; 5] = ["anthropic", "openai", "gh", "pair", "oauth"];

struct Sdks {
    world: World,
    session: Session,
    /// Of each credential; of the pair, the password.
    secrets: [Canary; 5],
}

impl Sdks {
    fn new() -> Self {
        // What follows a match's closing brace in a flow mapping cannot be a line of its own.
        let policy = POLICY.replace(", LOCAL}", "}, addresses: [\"127.0.0.1/32\"]");
        let world = World::new(HOSTS, &[&policy], |setup| setup.logging("info"));
        let target = |host: usize| world.target(HOSTS[host]);
        let put = |name: &str, options: &[&str]| world.egret.put(name, options);
        // A credential with a slot is never added, and no request here has this slot: only a swapped placeholder passes.
        let slot = ["--body-json", "/swap-only"];
        // The SDK's second major version sends the key as a bearer token, the first one as X-Api-Key.
        let bearer = ["--kind", "bearer", slot[0], slot[1], "--audience"];
        let key = ["--prefix", "sk-ant-", "--env", "ANTHROPIC_API_KEY"];
        let anthropic = put("anthropic", &[&bearer[..], &[&target(0)], &key].concat());
        let openai =
            put("openai", &[&bearer[..], &[&target(1), "--prefix", "sk-", "--env", "OPENAI_API_KEY"]].concat());
        let gh = put("gh", &[&bearer[..], &[&target(2), "--env", "GH_ENTERPRISE_TOKEN"]].concat());
        let password = Canary::new("pair");
        let pair = ["--kind", "basic", "--env", "PAIR_PASSWORD", "--audience", &target(3), "--audience", &target(4)];
        world.egret.put_value("pair", &[&pair[..], &slot].concat(), &format!("robot:{}", password.value()));
        world.egret.watch(password.clone());
        let oauth = ["--kind", "body", "--env", "CLIENT_SECRET", "--audience", &target(5)];
        let slots = ["--body-form", "client_secret", "--body-json", "/auth/client_secret"];
        let oauth = put("oauth", &[&oauth[..], &slots].concat());
        world.origin.require(HOSTS[0], "authorization", &format!("Bearer {}", anthropic.value()));
        world.origin.require(HOSTS[1], "authorization", &format!("Bearer {}", openai.value()));
        world.origin.require(HOSTS[2], "authorization", &format!("token {}", gh.value()));
        for host in [HOSTS[3], HOSTS[4]] {
            let pair = STANDARD.encode(format!("robot:{}", password.value()));
            world.origin.require(host, "authorization", &format!("Basic {pair}"));
        }
        world.origin.protocols(HOSTS[5], &["http/1.1"]);
        let session = world.egret.session(&["sdks"], &CREDENTIALS);
        Self { world, session, secrets: [anthropic, openai, gh, password, oauth] }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{}", self.world.target(host))
    }

    fn put_file(&self, path: &str, kind: &'static str, text: impl Into<String>) {
        self.world.origin.packages(|packages| packages.put(path, kind, text.into()));
    }

    fn both_ways(&self, client: impl Fn(&mut Scene<'_>)) {
        let secrets = self.secrets.each_ref();
        let (egret, session) = (&self.world.egret, &self.session);
        Stage { egret, session, policy: "sdks", credentials: &CREDENTIALS, secrets: &secrets }.both_ways(|scene| {
            scene.run(&program("env"), &[], &[]);
            client(scene);
        });
        self.world.origin.assert_saw_nothing_of("egret_ph_");
    }

    /// Runs one of the programs in `tests/clients`.
    fn python(&self, scene: &Scene<'_>, name: &str, host: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name).display().to_string();
        scene.run(&tools::python(), &[&script, &self.url(host)], &[])
    }
}

fn sdks() -> Arc<Sdks> {
    SHARED.get(Sdks::new)
}

/// Server-sent events of these documents, each with its name where it has one.
fn events(all: &[(&str, &str)]) -> String {
    let event = |(name, data): &(&str, &str)| {
        let name = if name.is_empty() { String::new() } else { format!("event: {name}\n") };
        format!("{name}data: {data}\n\n")
    };
    all.iter().map(event).collect()
}

#[test]
fn the_anthropic_sdk() {
    let it = sdks();
    let message = r#"{"id":"msg_1","type":"message","role":"assistant","model":"some-model","content":[CONTENT],"stop_reason":STOP,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":2}}"#;
    let text = r#"{"type":"text","text":"good day"}"#;
    let whole = message.replace("CONTENT", text).replace("STOP", "\"end_turn\"");
    it.put_file("/plain/v1/messages", "application/json", whole);
    let begun = message.replace("CONTENT", "").replace("STOP", "null");
    let start = format!("{{\"type\":\"message_start\",\"message\":{begun}}}");
    let delta = |text: &str| {
        format!(
            "{{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}"
        )
    };
    let stream = events(&[
        ("message_start", &start),
        (
            "content_block_start",
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        ),
        ("content_block_delta", &delta("good")),
        ("content_block_delta", &delta(" day")),
        ("content_block_stop", r#"{"type":"content_block_stop","index":0}"#),
        (
            "message_delta",
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}"#,
        ),
        ("message_stop", r#"{"type":"message_stop"}"#),
    ]);
    it.put_file("/stream/v1/messages", "text/event-stream", stream);
    it.both_ways(|scene| {
        let said = it.python(scene, "anthropic_client.py", "anthropic.origin.test");
        assert_eq!(said, "plain: good day\nstream: good| day\nkey: sk-ant-egret_ph_\n");
    });
}

#[test]
fn the_openai_sdk() {
    let it = sdks();
    it.put_file(
        "/plain/v1/chat/completions",
        "application/json",
        r#"{"id":"c","object":"chat.completion","created":1,"model":"some-model","choices":[{"index":0,"message":{"role":"assistant","content":"good day"},"finish_reason":"stop"}]}"#,
    );
    let chunk = |delta: &str, end: &str| {
        format!(
            "{{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"some-model\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{end}}}]}}"
        )
    };
    let stream = events(&[
        ("", &chunk(r#"{"role":"assistant","content":"good"}"#, "null")),
        ("", &chunk(r#"{"content":" day"}"#, "null")),
        ("", &chunk("{}", "\"stop\"")),
        ("", "[DONE]"),
    ]);
    it.put_file("/stream/v1/chat/completions", "text/event-stream", stream);
    it.both_ways(|scene| {
        let said = it.python(scene, "openai_client.py", "openai.origin.test");
        assert_eq!(said, "plain: good day\nstream: good| day|\nkey: sk-egret_ph_\n");
    });
}

#[test]
fn gh_with_a_token() {
    let it = sdks();
    it.put_file("/api/v3/user", "application/json", r#"{"login":"robot","id":7}"#);
    it.both_ways(|scene| {
        let url = format!("{}/api/v3/user", it.url("gh.origin.test"));
        let host = it.world.target("gh.origin.test");
        let env = [("GH_HOST", host.as_str()), ("GH_NO_UPDATE_NOTIFIER", "1")];
        assert_eq!(scene.run(&program("gh"), &["api", &url, "--jq", ".login"], &env), "robot\n");
    });
}

#[test]
fn git_with_a_pair() {
    let it = sdks();
    let root: PathBuf = it.world.origin.packages(|packages| packages.git_root().to_owned());
    let git = program("git");
    let seed = tempfile::tempdir().unwrap();
    let make = |args: &[&str]| tools::succeed(Command::new(&git).args(args).current_dir(seed.path()));
    make(&["init", "-q", "-b", "main"]);
    make(&["-c", "user.name=t", "-c", "user.email=t@origin.test", "commit", "-q", "--allow-empty", "-m", "seed"]);
    it.both_ways(|scene| {
        let name = format!("pair-{:?}.git", scene.way).to_lowercase();
        tools::succeed(
            Command::new(&git).args(["clone", "-q", "--bare"]).arg(seed.path()).arg(root.join(&name)),
        );
        // What the sandbox types: any user, and the placeholder as the password, in the URL and by a helper.
        let target = it.world.target("git-pair.origin.test");
        let script = format!(
            "set -e; export GIT_TERMINAL_PROMPT=0\n\
             git clone -q \"https://robot:$PAIR_PASSWORD@{target}/git/{name}\" clone; cd clone\n\
             git -c user.name=t -c user.email=t@origin.test commit -q --allow-empty -m pushed\n\
             git push -q origin main; cd ..\n\
             git -c 'credential.helper=!f() {{ echo username=robot; echo \"password=$PAIR_PASSWORD\"; }}; f' clone -q https://{target}/git/{name} again\n\
             git -C again log -1 --format=%s"
        );
        assert_eq!(scene.run(&program("sh"), &["-c", &script], &[]), "pushed\n");
    });
}

#[test]
fn pip_with_a_pair() {
    let it = sdks();
    let (name, wheel) = crate::clients::wheel("pairpkg");
    let page = format!("<html><body><a href=\"/files/{name}\">{name}</a></body></html>");
    it.world.origin.packages(|packages| {
        packages.put("/simple/pairpkg/", "text/html", page);
        packages.put(&format!("/files/{name}"), "application/octet-stream", wheel);
    });
    it.both_ways(|scene| {
        let target = it.world.target("pypi-pair.origin.test");
        let python = tools::python().display().to_string();
        let script = format!(
            "set -e; export PIP_INDEX_URL=\"https://robot:$PAIR_PASSWORD@{target}/simple/\"\n\
             '{python}' -m pip download -q --disable-pip-version-check --no-cache-dir --no-deps -d . pairpkg; ls"
        );
        let listed = scene.run(&program("sh"), &["-c", &script], &[]);
        assert!(listed.contains(&name), "{listed}");
    });
}

#[test]
fn a_form_and_a_json_api_with_the_secret_in_the_body() {
    let it = sdks();
    for path in ["/oauth/form", "/oauth/json", "/oauth/astray"] {
        it.put_file(path, "application/json", "{\"access_token\": \"short-lived\"}");
    }
    it.both_ways(|scene| {
        let said = it.python(scene, "body_client.py", "oauth.origin.test");
        assert_eq!(said, "form: 200\njson: 200\nastray: 403 placeholder_misplaced\n");
    });
    let secret = it.secrets[4].value();
    let form = format!("client_secret={}&scope=a+b", secret.replace('/', "%2F"));
    let json = format!("\"client_secret\": \"{secret}\"");
    for sent in [form, json] {
        assert!(it.world.origin.saw(&sent), "the origin did not get {sent}");
    }
}
