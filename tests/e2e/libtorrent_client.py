"""A libtorrent client: libtorrent_client.py TORRENT FOLDER INTERFACES

It shares TORRENT's content in FOLDER, listening on INTERFACES ("ip:port,..."). SIGUSR1 makes it
pause, and so leave its tracker; SIGTERM ends it.
"""

import signal
import sys

import libtorrent

# Neither plugins nor features that start by themselves: no ut_pex, no DHT, no local discovery.
NO_EXTRAS = 0

SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    "alert_mask": libtorrent.alert.category_t.error_notification
    | libtorrent.alert.category_t.status_notification
    | libtorrent.alert.category_t.tracker_notification
    | libtorrent.alert.category_t.connect_notification,
}

# Signals are seen between two waits for an alert.
WAIT_MILLISECONDS = 200


def main(torrent_file, folder, interfaces):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    session = libtorrent.session({**SETTINGS, "listen_interfaces": interfaces}, NO_EXTRAS)
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent_file)
    parameters.save_path = folder
    # A torrent that libtorrent manages would be resumed by it.
    parameters.flags &= ~libtorrent.torrent_flags.auto_managed
    parameters.flags &= ~libtorrent.torrent_flags.paused
    torrent = session.add_torrent(parameters)
    signal.signal(signal.SIGUSR1, lambda *_: torrent.pause())

    while True:
        session.wait_for_alert(WAIT_MILLISECONDS)
        for alert in session.pop_alerts():
            print(alert, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
