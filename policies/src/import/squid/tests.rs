//! Forms of squid's documentation, and what the policies that come of them answer.

use model::Timestamp;

use crate::check::CheckRequest;
use crate::compile::{PolicySource, compile};
use crate::import::{Origin, import};
use crate::question::Question;
use crate::verdict::Verdict;

const LISTS: &str = "acl good dstdomain .example.com\nacl more dstdomain .example.net\nacl bad dstdomain bad.example.com\nacl get method GET HEAD\nacl post method POST\nacl CONNECT method CONNECT\nacl localnet src 10.0.0.0/8\nacl SSL_ports port 443\nacl hours time MTWHF 9:00-17:00\nacl step1 at_step SslBump1\n";
/// The line of the first one after the lists.
const FIRST: usize = 11;

fn imported(lines: &str) -> Result<String, String> {
    import(Origin::Squid, "imported", &format!("{LISTS}{lines}")).map_err(|error| error.to_string())
}

/// Whether the policy allows each of these requests.
fn allowed(policy: &str, requests: &[&str]) -> Vec<bool> {
    let set =
        compile(&[PolicySource { name: "p.yaml".into(), text: policy.to_owned() }]).expect("it was compiled before");
    for result in set.run_checks(Timestamp::UNIX_EPOCH) {
        assert!(result.passed(), "{}\n{policy}", result.problem.unwrap());
    }
    let rules = set.rules_for_policies(&["imported".into()]).unwrap();
    let ask = |request: &&str| {
        let CheckRequest { destination, method, path, .. } = CheckRequest::parse(request).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let question =
            Question { destination: &destination, method: &method, path: &path, websocket: false, tool: None, now };
        Verdict::of(&rules.judge(&question).answer) == Verdict::Allow
    };
    requests.iter().map(ask).collect()
}

/// Imports the lines, and compares the answers to the requests with `+` for allowed and `-` for refused.
fn answers(lines: &str, requests: &[&str], wanted: &str) -> String {
    let policy = imported(lines).unwrap_or_else(|error| panic!("{lines}: {error}"));
    let found: String = allowed(&policy, requests).iter().map(|passes| if *passes { '+' } else { '-' }).collect();
    assert_eq!(found, wanted, "{lines}\n{policy}");
    policy
}

/// What the comments of the policy report, besides lists that the case does not use.
fn notes(policy: &str) -> Vec<&str> {
    let notes = policy.lines().filter_map(|line| line.strip_prefix("# - "));
    notes.filter(|note| !note.ends_with("no `http_access` line names it")).collect()
}

const REQUESTS: [&str; 5] = [
    "GET https://a.example.com/",
    "POST https://a.example.com/",
    "GET http://a.example.com/",
    "POST http://a.example.com/",
    "GET https://bad.example.com/",
];

#[test]
fn methods_beside_a_list_limit_the_rule() {
    // Without `ssl_bump`, squid sees these methods in requests over http alone.
    let policy = answers("http_access allow get good\nhttp_access deny all\n", &REQUESTS, "--+--");
    assert!(policy.contains("allow: {host: \"@good-get-head-http\", scheme: http, methods: [GET, HEAD]}"), "{policy}");
    assert_eq!(notes(&policy), [""; 0], "{policy}");
    answers("http_access allow get localnet good\nhttp_access deny all\n", &REQUESTS, "--+--");
    answers("http_access allow good get post\nhttp_access allow more\nhttp_access deny all\n", &REQUESTS, "-----");
    // Both: connections over https, and GET over http.
    answers("acl both method CONNECT GET\nhttp_access allow both good\nhttp_access deny all\n", &REQUESTS, "+++-+");
    // A method that is excluded is denied.
    let policy = answers("http_access allow good !post\nhttp_access deny all\n", &REQUESTS, "+---+");
    assert!(policy.contains("deny: {host: \"@good-deny-post\", methods: [POST]}"), "{policy}");
}

#[test]
fn where_squid_decrypts_methods_are_about_https() {
    let bump = "ssl_bump peek step1\nssl_bump bump all\n";
    let policy = answers(
        &format!("{bump}http_access allow CONNECT SSL_ports\nhttp_access allow get good\nhttp_access deny all\n"),
        &REQUESTS,
        "+---+",
    );
    assert!(policy.contains("allow: {host: \"@good-get-head\", methods: [GET, HEAD]}"), "{policy}");
    // No connection is allowed in which a GET could come, and a connection alone allows no request.
    for (line, why) in [
        ("http_access allow get good", "no line allows CONNECT to its hosts"),
        ("http_access allow CONNECT good", "it allows connections, and other lines allow the requests in them"),
    ] {
        let error = imported(&format!("{bump}{line}\nhttp_access deny all\n")).unwrap_err();
        assert!(error.contains(&format!("line {}: `{line}`: {why}", FIRST + 2)), "{error}");
    }
}

#[test]
fn a_denied_method_is_never_lost() {
    let after = "http_access allow good\nhttp_access deny all\n";
    let policy = answers(&format!("http_access deny post good\n{after}"), &REQUESTS, "+---+");
    assert!(policy.contains("deny: {host: \"@good-deny-post\", methods: [POST]}"), "{policy}");
    assert_eq!(notes(&policy), [""; 0], "{policy}");
    let policy = answers(&format!("http_access deny post\n{after}"), &REQUESTS, "+---+");
    assert!(policy.contains("deny: {host: \"@every-host-deny-post\", methods: [POST]}"), "{policy}");
    // A list of that name is another matter.
    let taken = "acl every-host-deny-post dstdomain .example.org\nhttp_access deny every-host-deny-post\n";
    let policy = answers(&format!("{taken}http_access deny post\n{after}"), &REQUESTS, "+---+");
    assert!(policy.contains("deny: {host: \"@every-host-deny-post-x\", methods: [POST]}"), "{policy}");
    // CONNECT is every request over https.
    answers(&format!("http_access deny CONNECT bad\n{after}"), &REQUESTS, "++---");
    let policy = answers(&format!("http_access deny post bad localnet\n{after}"), &REQUESTS, "++--+");
    assert!(policy.contains("here POST to the whole list `bad` is denied"), "{policy}");
    answers(&format!("http_access deny !SSL_ports\nhttp_access allow get good\n{after}"), &REQUESTS, "++--+");
    let error = imported(&format!("http_access deny !get\n{after}")).unwrap_err();
    assert!(error.ends_with("it denies every request over https"), "{error}");
}

#[test]
fn server_names_are_hosts() {
    let names = "acl sites ssl::server_name .example.com\nacl rx ssl::server_name_regex ^www\\.example\\.net$\n";
    answers(&format!("{names}http_access allow sites\nhttp_access deny all\n"), &REQUESTS, "++--+");
    answers(&format!("{names}http_access allow rx\nhttp_access deny all\n"), &["GET https://www.example.net/"], "+");
    answers(&format!("{names}http_access deny sites\nhttp_access allow more\n"), &REQUESTS, "-----");
    let consensus = "acl sites ssl::server_name --consensus .example.com\n";
    answers(&format!("{consensus}http_access allow sites\nhttp_access deny all\n"), &REQUESTS, "++--+");
    // The names of a certificate are another matter: an allow is left out, and a deny ends the import.
    let foreign = "acl sites ssl::server_name --server-provided .example.com\n";
    let error = imported(&format!("{foreign}http_access allow sites\nhttp_access deny all\n")).unwrap_err();
    let why = "`sites` has --server-provided: it is not about the host that is asked for";
    assert!(error.contains(&format!("line {}: `http_access allow sites`: {why}", FIRST + 1)), "{error}");
    let lines = format!("{foreign}ssl_bump terminate sites\nhttp_access allow more\n");
    let error = imported(&lines).unwrap_err();
    assert!(error.contains(&format!("line {}: `ssl_bump terminate sites` cannot be translated", FIRST + 1)), "{error}");
}

#[test]
fn connections_that_ssl_bump_ends_are_not_allowed() {
    let names = "acl sites ssl::server_name .example.com\nacl evil ssl::server_name bad.example.com\n";
    let after = "http_access allow good\nhttp_access allow localnet\nhttp_access deny all\n";
    let policy = answers(
        &format!("{names}ssl_bump peek step1\nssl_bump terminate evil\nssl_bump splice all\n{after}"),
        &REQUESTS,
        "++---",
    );
    assert!(policy.contains("deny: {host: \"@evil\"}"), "{policy}");
    // Only spliced connections remain, for each client that may connect.
    let closed = format!("{names}ssl_bump peek step1\nssl_bump splice sites\nssl_bump terminate all\n");
    let policy = answers(&format!("{closed}http_access allow localnet\nhttp_access deny all\n"), &REQUESTS, "++--+");
    assert!(policy.contains("allow: {host: \"@sites\"}"), "{policy}");
    let policy = answers(
        &format!("{closed}http_access allow more\nhttp_access allow sites\nhttp_access deny all\n"),
        &REQUESTS,
        "++--+",
    );
    let note = format!(
        "line {}: `http_access allow more`: an earlier `deny`, or `ssl_bump terminate`, leaves only other lists",
        FIRST + 5
    );
    assert!(policy.contains(&note), "{policy}");
    let error = imported(&format!("ssl_bump terminate hours\n{after}")).unwrap_err();
    assert!(error.contains(&format!("line {FIRST}: `ssl_bump terminate hours` cannot be translated")), "{error}");
}

#[test]
fn groups_are_written_out() {
    let either = "acl either any-of good more\nacl either any-of bad\n";
    let requests = ["GET https://a.example.com/", "GET https://a.example.net/", "GET https://bad.example.com/"];
    let policy = answers(&format!("{either}http_access allow either\nhttp_access deny all\n"), &requests, "+++");
    assert_eq!(notes(&policy), [""; 0], "{policy}");
    // Every part of a denied group is denied.
    let deny = "acl off any-of bad more\n";
    answers(&format!("{deny}http_access deny off\nhttp_access allow good\nhttp_access deny all\n"), &requests, "+--");
    // All parts together: hosts and methods.
    let both = "acl reads all-of good get\nacl reads all-of more get\n";
    answers(&format!("{both}http_access allow reads\nhttp_access deny all\n"), &REQUESTS, "--+--");
    answers(
        "acl writes all-of good post\nhttp_access deny writes\nhttp_access allow good\nhttp_access deny all\n",
        &REQUESTS,
        "+---+",
    );
    answers("acl ok all-of good !bad\nhttp_access allow ok\nhttp_access deny all\n", &requests, "+--");
    // Not (bad or more) is not bad and not more; a group may be in a group.
    answers(&format!("{deny}http_access allow good !off\nhttp_access deny all\n"), &requests, "+--");
    answers(
        &format!("{deny}acl ok all-of good !off\nacl any any-of ok\nhttp_access allow any\nhttp_access deny all\n"),
        &requests,
        "+--",
    );
    // A part that no rule can express: an allow is left out with its line, a deny ends the import.
    let mixed = "acl mixed any-of good hours\n";
    let policy = answers(&format!("{mixed}http_access allow mixed\nhttp_access deny all\n"), &requests, "+-+");
    let note = format!("line {}: `http_access allow mixed`: no rule has a condition such as `hours` (time)", FIRST + 1);
    assert!(policy.contains(&note), "{policy}");
    let error = imported(&format!("{mixed}http_access deny mixed\nhttp_access allow more\n")).unwrap_err();
    assert!(error.contains(&format!("line {}: `http_access deny mixed` cannot be translated", FIRST + 1)), "{error}");
    let error = imported("acl a any-of b\nacl b any-of a\nhttp_access deny a\nhttp_access allow good\n").unwrap_err();
    let why = "its groups contain each other, or have more alternatives than are translated";
    assert_eq!(error, format!("line {}: `http_access deny a`: {why}", FIRST + 2));
}

#[test]
fn what_a_deny_leaves_is_all_that_follows() {
    let after = "http_access allow localnet\nhttp_access deny all\n";
    answers(&format!("http_access deny !good\n{after}"), &REQUESTS, "++--+");
    answers(&format!("http_access deny !good !more\nhttp_access allow bad\n{after}"), &REQUESTS, "++--+");
    let error = imported("http_access deny !more\nhttp_access allow good\nhttp_access deny all\n").unwrap_err();
    assert!(error.contains("leaves only other lists"), "{error}");
}
