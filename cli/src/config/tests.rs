//! Configuration files, good and broken.

use super::*;

fn read(text: &str) -> Result<Config, Problem> {
    let source = Source { file: "egret.yaml".to_owned(), text };
    compile(&source, Path::new("/etc/egret"), Some(Path::new("/home/ann")))
}

fn refused(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn every_key_of_the_documentation_is_read() {
    let config = read(
        "data_dir: ~/egret\n\
         listen: {proxy: 127.0.0.1:0, socks: null, socks_tls: null, reverse: null, transparent: null, dns: null, control: null, \
         health: null}\n\
         sessions: {default: {policies: [library/pypi], credentials: [github]}, danger_default_credentials: true, \
         void_tokens_after_unclean_stop: true}\n\
         policies: [policies, /srv/one.yaml]\n\
         vault: {key: {file: ./vault.key}}\n\
         audit: {durability: power, retention: 90d}\n\
         upstream: {ca_files: [ca.pem], resolve: {A.example: \"127.0.0.1\", b.example: ::1}, proxy: null}\n\
         control: {peers: {}}\n\
         containment: off\n\
         limits: {max_head_bytes: 64KiB, max_streams: 100, idle_timeout: 5m}\n",
    )
    .unwrap();
    assert_eq!(config.data_dir, Some(PathBuf::from("/home/ann/egret")));
    assert_eq!(config.proxy.port(), 0);
    assert_eq!(config.default_session.unwrap().policies, ["library/pypi".into()]);
    assert!(config.danger_default_credentials && !Config::default().danger_default_credentials);
    assert!(config.void_tokens_after_unclean_stop && !Config::default().void_tokens_after_unclean_stop);
    assert_eq!(config.policies, [PathBuf::from("/etc/egret/policies"), PathBuf::from("/srv/one.yaml")]);
    assert_eq!(config.key, Key::File(PathBuf::from("/etc/egret/./vault.key")));
    assert!(matches!(config.durability, Durability::Power));
    assert_eq!(config.ca_files, [PathBuf::from("/etc/egret/ca.pem")]);
    assert_eq!(config.resolve["a.example"], IpAddr::from([127, 0, 0, 1]));
    assert_eq!(config.limits.max_head_bytes, 65_536);
    assert_eq!(config.limits.max_streams, 100);
    assert_eq!(config.limits.idle_timeout.as_secs(), 300);
}

#[test]
fn t259_the_proxy_listens_on_a_list() {
    let config = read("listen:\n  proxy: [\"unix:run/proxy.sock\", 127.0.0.1:7, \"[::1]:8\"]\n").unwrap();
    assert_eq!(config.proxy, SocketAddr::from(([127, 0, 0, 1], 7)));
    let socket = PathBuf::from("/etc/egret/run/proxy.sock");
    assert_eq!(config.further, [Listen::Unix { path: socket, mode: 0o600 }, Listen::Tcp("[::1]:8".parse().unwrap())]);
    for text in ["listen: {proxy: \"unix:/a\"}\n", "listen: {proxy: []}\n"] {
        assert!(refused(text).contains("needs an IP address"), "{}", refused(text));
    }
    assert!(refused("listen: {proxy: [127.0.0.1:7, \"unix:\"]}\n").contains("invalid listen address"));
}

#[test]
fn the_mode_of_unix_sockets_is_checked_without_one() {
    for mode in ["0999", "4666", "1666", "0000", "00600", "600", "rw"] {
        let problem = format!("egret.yaml:2:20: invalid `proxy_unix_mode` `{mode}`");
        for proxy in ["", "  proxy: 127.0.0.1:7\n", "  proxy: [127.0.0.1:7, \"unix:/a\"]\n"] {
            let text = refused(&format!("listen:\n  proxy_unix_mode: \"{mode}\"\n{proxy}"));
            assert!(text.starts_with(&problem), "{text}");
        }
    }
    let mode = "listen: {proxy: [127.0.0.1:7, \"unix:/a\"], proxy_unix_mode: \"0660\"}\n";
    let socket = Listen::Unix { path: "/a".into(), mode: 0o660 };
    let config = read(mode).unwrap();
    assert_eq!((config.further, config.unenforced), (vec![socket], Vec::new()));
}

#[test]
fn a_role_of_a_peer_is_one_of_four() {
    let text = refused("control:\n  peers:\n    \"uid:1000\": [read, admin]\n");
    assert!(text.starts_with("egret.yaml:3:24: unknown role `admin` of `control.peers`"), "{text}");
    assert!(text.ends_with("help: the roles are runtime, security, vault and read"), "{text}");
    assert!(read("control: {peers: {\"uid:1\": [runtime, security, vault, read]}}\n").is_ok());
}

#[test]
fn t259_the_proxy_listens_with_tls() {
    let tls = |address: &str| {
        format!("listen:\n  proxy_tls: {{address: \"{address}\", certificate: tls.pem, key: /k/tls.key}}\n")
    };
    let listener = read(&tls("0.0.0.0:3129")).unwrap().proxy_tls.unwrap();
    assert_eq!(listener.address, "0.0.0.0:3129".parse().unwrap());
    let (certificate, key) = ("/etc/egret/tls.pem".into(), "/k/tls.key".into());
    assert_eq!((&listener.certificate, &listener.key), (&certificate, &key));
    assert!(format!("{:#}", listener.open().unwrap_err()).contains("cannot read /etc/egret/tls.pem"));
    assert!(read("listen: {proxy_tls: null}\n").unwrap().proxy_tls.is_none());
    assert!(refused(&tls("localhost")).contains("invalid listen address `localhost`"));
    assert!(refused("listen: {proxy_tls: {address: \"127.0.0.1:1\"}}\n").contains("certificate"));
}

#[test]
fn keys_without_effect_are_reported_with_their_place() {
    let kept = "has no effect yet: records are kept until someone removes them; remove the key, and remove old records by hand";
    let retention = |place: &str| format!("egret.yaml:{place}: `audit.retention` {kept} (EG0060)");
    for (text, wanted) in [
        ("audit:\n  durability: power\n  retention: 90d\n", retention("3:14")),
        ("audit: {retention: {time: 90d, size: 20GiB}}\n", retention("1:20")),
        (
            "control:\n  peers: {\"uid:1000\": [runtime]}\n",
            "egret.yaml:2:23: `control.peers` has no effect yet: `uid:1000` gets no role; remove the key; only root and the user of Egret use the socket (EG0060)".to_owned(),
        ),
        (
            "listen: {proxy_unix_mode: \"0666\"}\n",
            "egret.yaml:1:27: `listen.proxy_unix_mode` has no effect: `listen.proxy` has no unix socket; remove the key, or add a `unix:` path to `listen.proxy` (EG0060)".to_owned(),
        ),
        (
            "containment: auto\n",
            "egret.yaml:1:14: `containment` has no effect yet: the process is not contained; remove the key, or write `off` (EG0060)".to_owned(),
        ),
    ] {
        assert_eq!(read(text).unwrap().unenforced, [wanted], "{text}");
    }
}

#[test]
fn a_retention_has_a_unit() {
    for (text, place) in [("audit: {retention: 90}\n", "1:20"), ("audit: {retention: {time: 90}}\n", "1:27")] {
        let refused = refused(text);
        let wanted = format!("egret.yaml:{place}: `90` has no unit; write 90d for 90 days\n");
        assert!(refused.starts_with(&wanted), "{refused}");
    }
}

#[test]
fn keys_that_are_enforced_are_not_reported() {
    let text = "data_dir: /d\nlisten: {proxy: 127.0.0.1:0, proxy_tls: {address: \"127.0.0.1:0\", certificate: c, key: k}}\nsessions: {default: {policies: [library/pypi], credentials: [a]}, danger_default_credentials: true, void_tokens_after_unclean_stop: true}\npolicies: [p]\nvault: {key: {file: k}}\naudit: {durability: power}\nupstream: {ca_files: [c], resolve: {a.example: 192.0.2.1}}\ncontrol: {peers: {}}\ncontainment: off\nlimits: {max_fields: 10}\n";
    assert_eq!(read(text).unwrap().unenforced, [""; 0]);
}

#[test]
fn an_empty_file_is_the_default() {
    for text in ["", "\n", "# nothing\n\n"] {
        assert_eq!(read(text).unwrap().proxy, Config::default().proxy, "{text:?}");
    }
}

#[test]
fn an_unknown_key_is_shown_where_it_stands() {
    let text = refused("data_dir: /tmp/x\nlisten:\n  proxies: 127.0.0.1:1\n");
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("egret.yaml:3:3: unknown key `proxies`"), "{text}");
    assert_eq!(lines.nth(1), Some("3 |   proxies: 127.0.0.1:1"));
    assert_eq!(lines.next(), Some("  |   ^"));
}

#[test]
fn a_key_written_twice_is_refused() {
    let text = refused("policies: []\npolicies: [a]\n");
    assert!(text.starts_with("egret.yaml:2:1: duplicate key `policies`"), "{text}");
    assert!(text.ends_with("help: keep one of them"), "{text}");
}

#[test]
fn values_that_cannot_be_are_shown_where_they_stand() {
    for (document, place, words) in [
        ("listen: {proxy: localhost}\n", "1:17", "invalid listen address `localhost`"),
        ("policies: nope\n", "1:11", "expected a list"),
        ("listen: nope\n", "1:9", "expected a mapping"),
        ("data_dir: [a]\n", "1:11", "expected a single value"),
        ("sessions: {danger_default_credentials: maybe}\n", "1:40", "expected true or false"),
        ("data_dir:\n", "1:9", "empty value"),
        ("data_dir: \"\"\n", "1:11", "empty value"),
        ("policies: [\"\"]\n", "1:12", "empty value"),
        ("audit:\n  retention:\nlimits: {}\n", "2:12", "empty value"),
        ("listen:\n  socks: 127.0.0.1:1080\n", "2:10", "`listen.socks` is not available yet"),
        ("listen: {health: 127.0.0.1:1}\n", "1:18", "`listen.health` is not available yet"),
        ("upstream:\n  proxy: {url: x}\n", "2:10", "`upstream.proxy` is not available yet"),
        ("containment: required\n", "1:14", "`containment: required` cannot be met"),
        ("containment: on\n", "1:14", "unknown containment `on`"),
        ("audit: {retention: {}}\n", "1:20", "needs `time`, `size` or both"),
        ("audit: {retention: {size: much}}\n", "1:27", "`much` is not a number of bytes"),
        ("audit: {retention: {time: long}}\n", "1:27", "not a length of time"),
        ("audit: {durability: paper}\n", "1:21", "unknown durability `paper`"),
        ("audit: {retention: long}\n", "1:20", "not a length of time"),
        ("vault:\n  key: {file: a, passphrase_env: B}\n", "2:8", "`passphrase_env` alone"),
        ("vault:\n  key: {}\n", "2:8", "both of these, or"),
        ("upstream: {resolve: {a.example: here}}\n", "1:33", "`here` is no IP address"),
        ("upstream: {resolve: {\"a b\": 127.0.0.1}}\n", "1:29", "`a b` is not a host name"),
        ("limits: {max_heads: 1}\n", "1:21", "no limit `max_heads`"),
        ("limits: {max_fields: 0}\n", "1:22", "not a value for `max_fields`"),
        ("limits: {head_timeout: 10}\n", "1:24", "not a value for `head_timeout`"),
        ("policies: [library/pypi]\n", "1:12", "there is no file `library/pypi`"),
    ] {
        let text = refused(document);
        assert!(text.starts_with(&format!("egret.yaml:{place}: ")), "{document}: {text}");
        assert!(text.contains(words), "{document}: {text}");
    }
}

#[test]
fn every_limit_of_the_data_path_has_a_key() {
    // The names of the fields in the output of Debug.
    let printed = format!("{:#?}", Limits::default());
    for line in printed.lines().filter(|line| line.starts_with("    ") && line.contains(": ")) {
        let name = line.trim().split(':').next().unwrap();
        let is_time = ["_timeout", "keep_alive", "_grace", "_interval"].iter().any(|end| name.ends_with(end));
        let value = if is_time { "7s" } else { "7" };
        assert!(read(&format!("limits: {{{name}: {value}}}\n")).is_ok(), "{name}");
    }
}

#[test]
fn the_documented_file_is_read_and_its_limits_are_the_defaults() {
    let page = include_str!("../../../docs/configuration.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (config, default) = (read(example).unwrap(), Config::default());
    assert_eq!(config.limits, default.limits);
    assert_eq!((config.proxy, config.durability), (default.proxy, default.durability));
    for line in
        format!("{:#?}", Limits::default()).lines().filter(|line| line.starts_with("    ") && line.contains(": "))
    {
        let name = line.trim().split(':').next().unwrap();
        assert!(example.contains(&format!("  {name}: ")), "{name} is not in the example");
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not in the table");
    }
}
