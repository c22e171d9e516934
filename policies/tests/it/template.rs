//! Templates: what they make passes its own checks, and what they are given cannot make more of them.

use std::collections::{BTreeMap, BTreeSet};

use egret_policies::{PolicySource, Surroundings, TemplateError, compile, coverage, fmt, lint, template, templates};
use model::Timestamp;

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn sample(parameter: &str) -> &'static str {
    match parameter {
        "org" => "Acme-7",
        "group" => "acme_group",
        "bucket" => "acme.reports-2026",
        "region" => "eu-central-1",
        "project" => "acme-prod",
        "domain" => "acme.example",
        "resources" => "eyJyZXNvdXJjZXMiOiBbIm9yZ2FuaXphdGlvbnMvMTIzNDU2Nzg5MDEyIl0sICJvcHRpb25zIjogInN0cmljdCJ9",
        "tenant" => "f4cf0e0a-2b5b-4c0f-9d0b-0a4c1b7f4d11",
        "policy" => "0b0f6a5e-7d52-4f0e-8f6a-3a9d4f1f2c22",
        "enterprise" => "acme-corp",
        "workspace" => "T0123ABCD",
        "team" => "dbtid-AAA111",
        "account" => "a1b2c3d4e5f6",
        other => panic!("a parameter that no sample is for: {other}"),
    }
}

fn filled() -> Vec<PolicySource> {
    let fill = |template_name: &str| {
        let template_of = templates().into_iter().find(|template| template.name == template_name).unwrap();
        let given = template_of.parameters.iter().map(|own| (own.name.clone(), sample(&own.name).to_owned()));
        template(template_name, &given.collect()).unwrap()
    };
    templates().iter().map(|own| PolicySource { name: format!("{}.yaml", own.name), text: fill(own.name) }).collect()
}

#[test]
fn every_filled_template_is_right_and_its_checks_reach_every_rule() {
    for source in filled() {
        assert!(!source.text.contains("YOUR-") && !source.text.contains("# parameter"), "{}", source.text);
        let set = compile(std::slice::from_ref(&source)).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(set.warnings(), [], "{}", source.name);
        assert!(set.names().all(|name| set.description(name).is_some()));
        let found = lint(&set, std::slice::from_ref(&source), Timestamp::UNIX_EPOCH, &Surroundings::default());
        let codes: Vec<_> = found.iter().map(|problem| problem.code).collect();
        // S3 takes only signed requests, which its templates say.
        let expected: &[&str] = if source.name.starts_with("s3-") { &["EG0057", "EG0057"] } else { &[] };
        assert_eq!(codes, expected, "{}", source.name);
        assert_eq!(fmt(&source).as_deref(), Ok(&*source.text));
        let results = set.run_checks(Timestamp::UNIX_EPOCH);
        assert!(results.len() >= 4, "{}", source.name);
        for result in &results {
            assert!(result.passed(), "{result:?}");
        }
        for rule in coverage(&set, &results) {
            assert!(rule.checks > 0, "no check reaches {rule:?}");
        }
    }
}

#[test]
fn filled_templates_stand_together() {
    // At most 8 ceilings can be over one session.
    let (ceilings, others): (Vec<_>, Vec<_>) = filled().into_iter().partition(|own| own.text.contains("ceiling: true"));
    for ceilings in ceilings.chunks(8) {
        let sources = [ceilings, &others].concat();
        let set = compile(&sources).unwrap();
        assert_eq!(set.names().count(), sources.len());
        let all: Vec<_> = set.names().filter(|name| !name.as_str().starts_with("tenant-")).cloned().collect();
        set.rules_for_policies(&all).unwrap();
    }
}

#[test]
fn templates_are_listed_with_what_they_need() {
    let listed = templates();
    let names: Vec<_> = listed.iter().map(|own| own.name).collect();
    assert!(names.is_sorted() && names.iter().collect::<BTreeSet<_>>().len() == names.len());
    for own in &listed {
        assert!(!own.description.is_empty() && !own.parameters.is_empty(), "{own:?}");
        assert!(own.parameters.iter().all(|parameter| !parameter.description.is_empty()), "{own:?}");
    }
    let bucket = listed.iter().find(|own| own.name == "s3-bucket-read").unwrap();
    let parameters: Vec<_> = bucket.parameters.iter().map(|own| own.name.as_str()).collect();
    assert_eq!(parameters, ["bucket", "region"]);
}

#[test]
fn a_policy_is_named_after_its_template_and_value() {
    let name = |org: &str| {
        let text = template("github-org-read", &values(&[("org", org)])).unwrap();
        text.lines().next().unwrap().to_owned()
    };
    assert_eq!(name("acme"), "policy: github-org-read-acme");
    let long = name(&format!("{}-{}", "a".repeat(47), "b".repeat(15)));
    assert_eq!(long, format!("policy: github-org-read-{}", "a".repeat(47)));
}

#[test]
fn what_a_template_is_given_is_one_plain_name_each() {
    let bucket = |pairs: &[(&str, &str)]| template("s3-bucket-read", &values(pairs));
    let template_name = "s3-bucket-read";
    let unknown = template("none", &values(&[])).unwrap_err();
    assert_eq!(unknown, TemplateError::UnknownTemplate("none".into()));
    assert!(
        unknown.to_string().starts_with("there is no template `none`; the templates are artifact-registry, bedrock, ")
    );
    let unused = bucket(&[("org", "c")]).unwrap_err().to_string();
    assert_eq!(unused, "template `s3-bucket-read` has no parameter `org`; its parameters are bucket, region");
    assert_eq!(
        bucket(&[("bucket", "a"), ("region", "b"), ("org", "c")]),
        Err(TemplateError::UnknownParameter { template: template_name, parameter: "org".into() })
    );
    assert!(matches!(
        bucket(&[("bucket", "a")]),
        Err(TemplateError::MissingParameter { parameter, .. }) if parameter == "region"
    ));
    let long = "a".repeat(129);
    let broken = [
        "",
        "*",
        "**",
        "a/b",
        "a b",
        "..",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a\n",
        "a: b",
        "a#",
        "\"",
        "a%2f",
        "ü",
        "a?b",
        "@a",
        "YOUR-REGION",
        &long,
    ];
    for value in broken {
        let expected = Err(TemplateError::InvalidValue { parameter: "bucket".into() });
        assert_eq!(bucket(&[("bucket", value), ("region", "eu-central-1")]), expected, "{value:?}");
    }
}
