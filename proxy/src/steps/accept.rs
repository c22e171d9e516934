//! Step 1: a downstream connection takes a slot, which is free again when the connection ends.

use std::net::IpAddr;

use crate::Proxy;
use crate::entry::channel::Channel;
use crate::entry::slots::{ConnectionSlot, NoSlot, source_of};

/// A connection from a client that has a slot.
pub(crate) struct Downstream<S> {
    pub(crate) stream: S,
    pub(crate) slot: ConnectionSlot,
    pub(crate) channel: Channel,
}

/// A connection for which there is no slot.
#[derive(Debug)]
pub(crate) struct TurnedAway<S> {
    pub(crate) stream: S,
    pub(crate) source: IpAddr,
}

/// Admits a new connection.
///
/// # Errors
/// [`TurnedAway`] if sessions use all slots; it is answered, not reset.
pub(crate) fn accept<S>(proxy: &Proxy, stream: S, channel: Channel) -> Result<Downstream<S>, TurnedAway<S>> {
    let peer = channel.source();
    match proxy.slots.arrive(peer) {
        Ok(slot) => Ok(Downstream { stream, slot, channel }),
        Err(NoSlot::All | NoSlot::Session | NoSlot::Evicted) => Err(TurnedAway { stream, source: source_of(peer) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Setup;

    fn channel(last: u8) -> Channel {
        Channel::Network(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_connection_holds_a_slot_until_it_ends() {
        let mut setup = Setup::new(&["{id: r, allow: {host: api.example.com}}"]);
        setup.config.limits.max_connections = 2;
        let bench = setup.build();
        let proxy = &bench.core.proxy;
        let identified = |stream: &'static str, last| {
            let mut downstream = accept(proxy, stream, channel(last)).ok().unwrap();
            downstream.slot.identified(&bench.session.id).unwrap();
            downstream
        };
        let first = identified("first", 1);
        let second = identified("second", 2);
        assert_eq!((first.stream, second.stream, proxy.slots.count()), ("first", "second", 2));
        assert!(matches!(second.channel, Channel::Network(peer) if peer == IpAddr::from([192, 0, 2, 2])));
        // Sessions use all slots: the newest is turned away with its stream, so that it gets an answer.
        let turned_away = accept(proxy, "third", channel(3)).err().unwrap();
        assert_eq!((turned_away.stream, turned_away.source), ("third", IpAddr::from([192, 0, 2, 3])));
        drop(first);
        assert!(accept(proxy, "fourth", channel(4)).is_ok());
    }

    #[test]
    fn t209_an_unidentified_connection_gives_its_slot_to_the_newest() {
        let mut setup = Setup::new(&["{id: r, allow: {host: api.example.com}}"]);
        setup.config.limits.max_connections = 1;
        let bench = setup.build();
        let mut oldest = accept(&bench.core.proxy, (), channel(1)).ok().unwrap();
        let newest = accept(&bench.core.proxy, (), channel(2)).ok().unwrap();
        assert_eq!(bench.core.proxy.slots.count(), 1);
        assert!(oldest.slot.identified(&bench.session.id).is_err());
        drop(newest);
    }

    #[test]
    fn the_source_of_a_connection_is_its_network_where_one_host_has_many_addresses() {
        let mut setup = Setup::new(&["{id: r, allow: {host: api.example.com}}"]);
        setup.config.limits.max_connections = 0;
        let bench = setup.build();
        let six = Channel::Network("2001:db8:1:2:3:4:5:6".parse().unwrap());
        let turned_away = accept(&bench.core.proxy, (), six).err().unwrap();
        assert_eq!(turned_away.source, "2001:db8:1:2::".parse::<IpAddr>().unwrap());
    }
}
