//! A policy file: compiling it never panics and gives the same result each time, its problems render in every form, its
//! layout keeps its meaning, and what it compiles to answers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Destination, Host, PolicyName, RequestPath, Scheme, Timestamp};
use policies::{ConnectQuery, Passage, PolicySource, Problem, Question, compile, render};

fn source(text: &str) -> [PolicySource; 1] {
    [PolicySource { name: "p.yaml".to_owned(), text: text.to_owned() }]
}

fn render_all(text: &str, problems: &[Problem]) {
    // YAML ends a line at a lone CR too.
    let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count();
    for problem in problems {
        assert!(problem.line <= lines + 1, "a place beyond the file: {problem}");
        assert!(!problem.code.is_empty() && !problem.to_string().is_empty());
    }
    for rendered in [render::human, render::json, render::sarif, render::github].map(|form| form(problems)) {
        assert!(problems.is_empty() || !rendered.is_empty());
    }
}

fuzz_target!(|text: &str| {
    let set = match compile(&source(text)) {
        Ok(set) => set,
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a problem");
            assert_eq!(Some(&problems), compile(&source(text)).err().as_ref(), "other problems the second time");
            return render_all(text, &problems);
        }
    };
    render_all(text, set.warnings());
    let again = compile(&source(text)).expect("it compiled a moment ago");
    assert_eq!(set.digest(), again.digest());
    // One layout, which formatting does not change and which has the same meaning.
    let [file] = source(text);
    if let Ok(laid_out) = policies::fmt(&file) {
        let [file] = source(&laid_out);
        assert_eq!(policies::fmt(&file).as_ref(), Ok(&laid_out), "the layout is not its own layout");
        assert!(compile(&source(&laid_out)).is_ok(), "the layout does not compile");
    }
    let now = Timestamp::UNIX_EPOCH;
    let _ = set.run_checks(now);
    let names: Vec<PolicyName> = set.names().cloned().collect();
    let Ok(rules) = set.rules_for_policies(&names) else { return };
    for host in ["a.example", "b.a.example", "10.0.0.1", "[::1]"] {
        let host = Host::parse(host).expect("a host");
        for (port, target) in [(443, "/"), (80, "/a/..;/b?x=1&x=2;y"), (8443, "/repos/acme/site")] {
            let path = RequestPath::parse(target).expect("a path");
            let passage = rules.decide(&ConnectQuery { host: &host, port, now });
            for scheme in [Scheme::Http, Scheme::Https] {
                let destination = Destination::new(scheme, host.clone(), port);
                for tool in [None, Some("read")] {
                    let question =
                        Question { destination: &destination, method: "GET", path: &path, websocket: false, tool, now };
                    let passes = rules.authorize(&question).is_ok();
                    assert!(!passes || passage.is_ok(), "a request passes where no connection does");
                    assert!(!passes || !matches!(passage, Ok(Passage::Tunnel(_))), "judged though unread");
                }
            }
        }
    }
});
