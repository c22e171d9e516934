//! May a session reach this host and port, and how: the question asked before any name is resolved.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::{Destination, Host, Reason, Scheme, Timestamp};

use crate::denied::{Denied, is_special};
use crate::index::{Bucket, Index, SchemePort, Stage};
use crate::permit::Permit;
use crate::question::Question;
use crate::rule::{Effect, Rule};
use crate::rules::{PolicyLayer, Rules};

/// How a connection to a destination is carried.
#[derive(Clone, Debug)]
pub enum Passage {
    /// TLS ends here, and each request inside is judged.
    Intercept,
    /// Bytes pass unread, all of them under this permit.
    Tunnel(Permit),
}

/// What a request gets.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The permit, or why not.
    pub answer: Result<Permit, Denied>,
    /// Whether it is the permit of a connection whose bytes are not read.
    pub unread: bool,
}

/// The host and port of a CONNECT.
#[derive(Clone, Copy, Debug)]
pub struct ConnectQuery<'a> {
    /// The host it names.
    pub host: &'a Host,
    /// The port it names.
    pub port: u16,
    /// When it is asked.
    pub now: Timestamp,
}

impl Rules {
    /// Whether any rule could allow a request to this host and port, and whether its bytes are read. A CONNECT
    /// does not show which scheme will follow, so it is enough that one scheme is open.
    ///
    /// # Errors
    /// [`Denied`] where none could, or where a rule denies the whole of host and port.
    pub fn decide(self: &Arc<Self>, connect: &ConnectQuery<'_>) -> Result<Passage, Denied> {
        if let Some(permit) = self.tunnel(connect)? {
            return Ok(Passage::Tunnel(permit));
        }
        let mut refusal = None;
        for scheme in [Scheme::Https, Scheme::Http] {
            if !self.opens(scheme, connect) {
                continue;
            }
            match self.denies_all(scheme, connect) {
                None => return Ok(Passage::Intercept),
                Some(rule) => refusal = refusal.or(Some(rule)),
            }
        }
        Err(refusal.map_or_else(|| self.unreached(connect), Denied::by))
    }

    /// As [`Rules::decide`], where the scheme is known before anything is read: in a request's absolute form. Cleartext is read also where
    /// TLS passes through.
    ///
    /// # Errors
    /// As [`Rules::decide`], and `protocol_not_allowed` where rules reach the host over another scheme alone.
    pub fn decide_over(self: &Arc<Self>, scheme: Scheme, connect: &ConnectQuery<'_>) -> Result<Passage, Denied> {
        let scheme_port = SchemePort { scheme, port: connect.port, now: connect.now };
        let passage = self.decide(connect).map_err(|denied| {
            let by_port = denied.rule.is_none() && denied.policy.is_none() && denied.reason == Reason::DeniedPort;
            let stage = || self.granting.closest_match(connect.host, |bucket| bucket.stage(scheme_port, ""));
            if scheme == Scheme::Http && by_port && stage() == Stage::Scheme {
                return Denied::unmatched(Reason::ProtocolNotAllowed);
            }
            denied
        })?;
        Ok(match (scheme, passage) {
            (Scheme::Http, Passage::Tunnel(_)) => Passage::Intercept,
            (Scheme::Http | Scheme::Https, passage) => passage,
        })
    }

    /// What a request gets on its whole way: whether its session may connect and, unless the connection passes through, whether the request
    /// may pass. The data path asks the two halves at two moments; everything that predicts it asks here.
    pub fn judge(self: &Arc<Self>, question: &Question<'_>) -> Judgement {
        let destination = question.destination;
        let connect = ConnectQuery { host: destination.host(), port: destination.port(), now: question.now };
        match self.decide_over(destination.scheme(), &connect) {
            Err(denied) => Judgement { answer: Err(denied), unread: false },
            Ok(Passage::Tunnel(permit)) => Judgement { answer: Ok(permit), unread: true },
            Ok(Passage::Intercept) => Judgement { answer: self.authorize(question), unread: false },
        }
    }

    /// Whether the data path may dial this address of a destination before a request shows which rule applies: every rule that could allow
    /// one also allows the address, and none of them asks first. Without an address, whether its name may be looked up for that.
    pub fn may_preconnect(&self, destination: &Destination, address: Option<IpAddr>, now: Timestamp) -> bool {
        let scheme_port = SchemePort { scheme: destination.scheme(), port: destination.port(), now };
        let covers =
            |rule: &Rule| rule.scheme.is_none_or(|scheme| scheme == destination.scheme()) && rule.is_in_force(now);
        let all = |index: &Index, holds: &dyn Fn(&Rule) -> bool| {
            let found = index.visit(destination.host(), |bucket| {
                let mut rules = bucket.all_rules(destination.port()).map(|at| &**self.rule(at));
                let fails = rules.any(|rule| {
                    let at_port = rule.ports.as_ref().is_none_or(|ports| ports.contains(&destination.port()));
                    at_port && covers(rule) && !holds(rule)
                });
                if fails { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            found.is_continue()
        };
        !self.observes(now)
            && [&self.granting].into_iter().chain(&self.ceilings).all(|layer| {
                layer.opens(destination.host(), scheme_port)
                    && all(&layer.asks, &|_| false)
                    && all(&layer.allows, &|rule| address.is_none_or(|address| rule.allows_address(address)))
            })
    }

    /// Whether something could allow a request through this scheme and port: the session's own rules, and each ceiling.
    fn opens(&self, scheme: Scheme, connect: &ConnectQuery<'_>) -> bool {
        let scheme_port = SchemePort { scheme, port: connect.port, now: connect.now };
        let observed = self.observes(connect.now) && !is_special(connect.host);
        (observed || self.granting.opens(connect.host, scheme_port))
            && self.ceilings.iter().all(|ceiling| ceiling.opens(connect.host, scheme_port))
    }

    /// No allow applies; if a rule denies everything here, its author's message is the better answer.
    fn unreached(&self, connect: &ConnectQuery<'_>) -> Denied {
        let denies = [Scheme::Https, Scheme::Http].map(|scheme| self.denies_all(scheme, connect));
        if let [Some(rule), Some(_)] = denies {
            return Denied::by(rule);
        }
        // Where a policy observes, it is a ceiling that stops the request.
        let own = (!self.observes(connect.now)).then_some((&self.granting, None));
        let layers = own.into_iter().chain(self.ceilings.iter().map(|ceiling| (ceiling, Some(&ceiling.policy))));
        for (layer, policy) in layers {
            let closed =
                |scheme| !layer.opens(connect.host, SchemePort { scheme, port: connect.port, now: connect.now });
            if !(closed(Scheme::Https) && closed(Scheme::Http)) {
                continue;
            }
            let scheme_port = SchemePort { scheme: Scheme::Https, port: connect.port, now: connect.now };
            let denied = match layer.closest_match(connect.host, |bucket| bucket.stage(scheme_port, "")) {
                Stage::Host => Denied::host(connect.host),
                // The scheme is not known yet, so it is not what was wrong.
                Stage::Scheme | Stage::Port | Stage::Method | Stage::Path => Denied::unmatched(Reason::DeniedPort),
            };
            return policy.map_or(denied.clone(), |policy| denied.under(policy));
        }
        Denied::host(connect.host)
    }

    /// The permit of a tunnel whose bytes are not read, where a rule passes it through.
    fn tunnel(self: &Arc<Self>, connect: &ConnectQuery<'_>) -> Result<Option<Permit>, Denied> {
        if !self.has_pass_through {
            return Ok(None);
        }
        let passes = |rule: &Rule| rule.pass_through;
        let ask = self.unconditional(&self.granting.asks, connect, passes);
        let allow = self.unconditional(&self.granting.allows, connect, passes);
        let Some(chosen) = ask.or(allow) else { return Ok(None) };
        if let Some(rule) = self.denies_all(Scheme::Https, connect) {
            return Err(Denied::by(rule));
        }
        let mut asks = ask;
        let mut permit = Permit::new(self, chosen);
        for ceiling in &self.ceilings {
            let whole = |rule: &Rule| rule.is_unconditional() && rule.covers_scheme(Scheme::Https);
            let ask = self.unconditional(&ceiling.asks, connect, whole);
            match ask.or_else(|| self.unconditional(&ceiling.allows, connect, whole)) {
                Some(ask) if self.rule(ask).effect == Effect::Ask => asks = asks.or(Some(ask)),
                Some(rule) => permit.add_ceiling(rule),
                // It allows some requests at most, and which they are would have to be read.
                None => return Err(Denied::unmatched(Reason::ProtocolNotAllowed).under(&ceiling.policy)),
            }
        }
        if let Some(ask) = asks {
            return Err(Denied::by(self.rule(ask)));
        }
        self.restrict_tunnel(connect, &mut permit)?;
        Ok(Some(permit))
    }

    /// Notes every rule that restricts the tunnel. A ceiling whose restrictions can only be kept where requests are read refuses it.
    fn restrict_tunnel(&self, connect: &ConnectQuery<'_>, permit: &mut Permit) -> Result<(), Denied> {
        let layers =
            std::iter::once((&self.granting, None)).chain(self.ceilings.iter().map(|one| (one, Some(&one.policy))));
        for (layer, ceiling) in layers.filter(|(layer, _)| !layer.restricting.is_empty()) {
            let covers = |rule: &Rule| {
                rule.covers_port(connect.port) && rule.covers_scheme(Scheme::Https) && rule.is_in_force(connect.now)
            };
            let mut unreadable = false;
            let found = layer.restricting.visit(connect.host, |bucket| {
                for at in bucket.all_rules(connect.port).filter(|at| covers(self.rule(*at))) {
                    unreadable |= ceiling.is_some() && self.rule(at).restricts_by_reading();
                    if let Err(denied) = permit.restrict(at) {
                        return ControlFlow::Break(denied);
                    }
                }
                ControlFlow::Continue(())
            });
            if let Some(policy) = ceiling.filter(|_| unreadable) {
                return Err(Denied::unmatched(Reason::ProtocolNotAllowed).under(policy));
            }
            found.break_value().map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// The rule that names host and port most exactly, among those that fit.
    fn unconditional(&self, index: &Index, connect: &ConnectQuery<'_>, fits: impl Fn(&Rule) -> bool) -> Option<usize> {
        let covers = |at: &usize| {
            let rule = self.rule(*at);
            rule.covers_port(connect.port) && rule.is_in_force(connect.now) && fits(rule)
        };
        let found = index.visit(connect.host, |bucket| {
            let fewest = bucket.unconditional(connect.port).filter(covers);
            let best = fewest.min_by_key(|at| (self.rule(*at).ports.as_ref().map_or(usize::MAX, |p| p.len()), *at));
            best.map_or(ControlFlow::Continue(()), ControlFlow::Break)
        });
        found.break_value()
    }

    fn denies_all(&self, scheme: Scheme, connect: &ConnectQuery<'_>) -> Option<&Rule> {
        let covers = |rule: &&Rule| {
            rule.covers_scheme(scheme) && rule.covers_port(connect.port) && rule.is_in_force(connect.now)
        };
        let found = self.denies.visit(connect.host, |bucket| {
            let rule = bucket.unconditional(connect.port).map(|at| &**self.rule(at)).find(covers);
            rule.map_or(ControlFlow::Continue(()), ControlFlow::Break)
        });
        found.break_value()
    }
}

impl PolicyLayer {
    /// How far any allow or ask of this host goes along.
    pub(crate) fn closest_match(&self, host: &Host, stage: impl Fn(&Bucket) -> Stage) -> Stage {
        let mut closest = Stage::Host;
        for index in [&self.allows, &self.asks] {
            let _: ControlFlow<()> = index.visit(host, |bucket| {
                closest = closest.max(stage(bucket));
                ControlFlow::Continue(())
            });
        }
        closest
    }

    fn opens(&self, host: &Host, scheme_port: SchemePort) -> bool {
        [&self.allows, &self.asks].into_iter().any(|index| {
            let found = index.visit(host, |bucket| match bucket.is_open(scheme_port) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            });
            found.is_break()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{PolicySource, compile};

    const OF_TEST_NET: &str = "addresses: [192.0.2.0/24]";

    fn may(rules: &[&str], address: Option<&str>) -> bool {
        let text = format!("policy: p\nrules:\n  - {}\n", rules.join("\n  - "));
        let set = compile(&[PolicySource { name: "p".to_owned(), text: text.clone() }]);
        let set = set.unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        let rules = set.rules_for_policies(&["p".into()]).unwrap();
        let destination = Destination::new(Scheme::Https, Host::parse("api.example.com").unwrap(), 443);
        rules.may_preconnect(&destination, address.map(|address| address.parse().unwrap()), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn an_address_is_dialed_ahead_if_every_rule_for_the_host_allows_it() {
        let wide = "{id: a, allow: {host: api.example.com}}";
        let narrow = &format!("{{id: b, allow: {{host: \"*.example.com\", path: /v1/**}}, {OF_TEST_NET}}}");
        assert!(may(&[wide], None) && may(&[wide], Some("8.8.8.8")) && !may(&[wide], Some("192.0.2.1")));
        assert!(may(&[narrow], Some("192.0.2.1")) && !may(&[narrow], Some("8.8.8.8")));
        // Of these two, the request decides which one applies.
        assert!(may(&[wide, narrow], None));
        assert!(!may(&[wide, narrow], Some("8.8.8.8")) && !may(&[wide, narrow], Some("192.0.2.1")));
        for other in [
            format!("{{id: c, allow: {{host: other.example.com}}, {OF_TEST_NET}}}"),
            format!("{{id: c, allow: {{host: api.example.com, port: 8443}}, {OF_TEST_NET}}}"),
            format!("{{id: c, allow: {{host: api.example.com, scheme: http, port: 443}}, {OF_TEST_NET}}}"),
        ] {
            assert!(may(&[wide, &other], Some("8.8.8.8")), "{other}");
        }
    }

    #[test]
    fn nothing_is_dialed_ahead_without_a_rule_or_before_an_approval() {
        assert!(!may(&["{id: a, allow: {host: other.example.com}}"], None));
        assert!(!may(&["{id: a, allow: {host: api.example.com, port: 8443}}"], None));
        let asks = "{id: b, ask: {host: api.example.com, methods: [DELETE]}}";
        assert!(!may(&["{id: a, allow: {host: api.example.com}}", asks], None));
    }
}
