//! The build that Cargo's features make, as one value. What stands at each plug point is chosen in the table above.

use crate::http::flavour::{AbsentRoute, HttpFlavour};
use crate::server::{ProcessFlavour, plugs};
use crate::tracker::Flavour;
use crate::udp::UdpFlavour;

use super::{
    ABSENT, Admission, ClientAddress, Clients, Cluster, Codings, Driver, FEATURES, Families, Handover, LogDestination,
    NetworkLog, RequestLog, RequestTimes, Routes, ScrapeLimit, StatsAccess, SystemCallFilter, WantedLog, Wrappers,
};

plugs! {
    /// What Cargo's features make of the tracker: every plug, listed once. Start, reload and stop walk this list.
    pub struct ThisBuild {
        admission: Admission,
        clients: Clients,
        cluster: Cluster,
        network_log: NetworkLog,
        wanted_log: WantedLog,
        client_address: ClientAddress,
        stats_access: StatsAccess,
        routes: Routes,
        codings: Codings,
        scrape_limit: ScrapeLimit,
        request_times: RequestTimes,
        request_log: RequestLog,
        wrappers: Wrappers,
    }
}

impl Flavour for ThisBuild {
    type Families = Families;
    type Admission = Admission;
    type Clients = Clients;
    type Cluster = Cluster;
    type NetworkLog = NetworkLog;
    type WantedLog = WantedLog;

    const FEATURES: &'static [&'static str] = FEATURES;

    fn admission(&self) -> &Admission {
        &self.admission
    }

    fn clients(&self) -> &Clients {
        &self.clients
    }

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn network_log(&self) -> &NetworkLog {
        &self.network_log
    }

    fn wanted_log(&self) -> &WantedLog {
        &self.wanted_log
    }
}

impl UdpFlavour for ThisBuild {
    type Driver = Driver;
}

impl ProcessFlavour for ThisBuild {
    type SystemCallFilter = SystemCallFilter;
    type Handover = Handover;
    type LogDestination = LogDestination;
}

impl HttpFlavour for ThisBuild {
    type ClientAddress = ClientAddress;
    type StatsAccess = StatsAccess;
    type Routes = Routes;
    type Codings = Codings;
    type ScrapeLimit = ScrapeLimit;
    type RequestTimes = RequestTimes;
    type RequestLog = RequestLog;
    type Wrappers = Wrappers;

    const ABSENT: &'static [AbsentRoute] = ABSENT;

    fn client_address(&self) -> &ClientAddress {
        &self.client_address
    }

    fn stats_access(&self) -> &StatsAccess {
        &self.stats_access
    }

    fn routes(&self) -> &Routes {
        &self.routes
    }

    fn codings(&self) -> &Codings {
        &self.codings
    }

    fn scrape_limit(&self) -> &ScrapeLimit {
        &self.scrape_limit
    }

    fn request_times(&self) -> &RequestTimes {
        &self.request_times
    }

    fn request_log(&self) -> &RequestLog {
        &self.request_log
    }

    fn wrappers(&self) -> &Wrappers {
        &self.wrappers
    }
}
