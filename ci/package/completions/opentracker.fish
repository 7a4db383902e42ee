complete -c opentracker -s i -l ip -d 'Address for the next ports; with dual-stack :: is both families [default: every address]' -r
complete -c opentracker -s p -l tcp-port -d 'HTTP port, 0: any free one; repeatable [default: 6969]' -r
complete -c opentracker -s P -l udp-port -d 'UDP port, 0: any free one; repeatable [default: 6969]' -r
complete -c opentracker -s s -l livesync-port -d 'Live sync port [default: none] (needs sync-live)' -r
complete -c opentracker -s w -l whitelist -d 'List of the only torrents that are served [default: none] (needs accesslist-white)' -r
complete -c opentracker -s b -l blacklist -d 'List of the torrents that are not served [default: none] (needs accesslist-black)' -r
complete -c opentracker -s A -l bless -d 'Network let in to statistics and live sync; repeatable (needs restrict-stats or sync-live)' -r
complete -c opentracker -s f -l config -d 'Read this configuration file here; repeatable [default: none]' -r
complete -c opentracker -s d -l dir -d 'Directory to chroot to as root, and to work in otherwise [default: the current directory]' -r
complete -c opentracker -s u -l user -d 'User to become when started as root [default: nobody]' -r
complete -c opentracker -s r -l redirect-url -d 'Where GET / sends a browser [default: none; it is answered 404]' -r
complete -c opentracker -s l -l statefile -d 'State dump to read download counts from at the start [default: none] (needs fullscrape)' -r
complete -c opentracker -l log -d 'error, warn, info, debug, trace; or warn,completed=info [default: RUST_LOG, else info]' -r
complete -c opentracker -l convert-config -d 'Print a configuration of the original as TOML, then stop' -r -F
complete -c opentracker -l new-key -d 'Make a key for listen.udp_connection_id_key_file, then stop' -r -F
complete -c opentracker -l control -d 'Say words to access.control, then stop (needs accesslist-dynamic)' -r
complete -c opentracker -l health -d 'Ask [udp:|tcp:][IP:PORT] whether it answers, then stop [default: both, port 6969]' -r
complete -c opentracker -l check-config -d 'Read and check the configuration, then stop'
complete -c opentracker -s v -l version -d 'Print the version'
complete -c opentracker -s h -l help -d 'Print this text'
