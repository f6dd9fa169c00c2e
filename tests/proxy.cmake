ledger_test(test_net
  SOURCES proxy_framing_test.cc proxy_message_test.cc proxy_peers_test.cc proxy_stream_test.cc proxy_tls_test.cc proxy_interception_test.cc proxy_upstream_test.cc
  LIBS ledger_net)
target_precompile_headers(test_net PRIVATE proxy_net_support.h)
