# End to end: the real binary, a real upstream that counts effects, real sockets.
find_package(Python3 COMPONENTS Interpreter)
set(e2e_tests
  guard
  outcomes
  sent_again
  doubt
  probe
  store
  identity
  reads
  pass
  framing
  tunnel
  peers
  told
  paths
  admin
  cli
  run
  doctor
  drain
  load
  crash
  points
  faults
)
set(e2e_slow load crash)
set(clients
  Stripe
  OpenAi
  OpenAiStream
  Slack
  Twilio
  SendGrid
  Axios
  Undici
  Curl
  Requests
  Boto3
)
set(demos
  retry-storm
  parallel-workers
  runaway-loop
  timeout-then-retry
  restart
  unmodified-agents
)

# The program once more, with a switch for dying at a named point (guard/crash_point.h).
add_executable(ledger_crash crash_points.cc)
target_link_libraries(ledger_crash PRIVATE ledger_program)

function(ledger_e2e name)
  if(Python3_FOUND)
    add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${ARGN})
  else()
    # Never silently: ctest lists it as skipped, by name.
    add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -E echo "skipped: python3 is not installed")
    set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "skipped:")
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT 300
    ENVIRONMENT "LEDGER_BIN=$<TARGET_FILE:ledger>;LEDGER_CRASH_BIN=$<TARGET_FILE:ledger_crash>;LEDGER_SANITIZED=${LEDGER_SANITIZE};PYTHONDONTWRITEBYTECODE=1")
endfunction()

# docs/promise.md and docs/failures.md name the test that shows each row.
ledger_e2e(docs_named_tests ${CMAKE_SOURCE_DIR}/tests/check_named_tests.py)
# docs/http.md lists what guard/problem.cc makes.
ledger_e2e(docs_http_page ${CMAKE_SOURCE_DIR}/tests/check_http_page.py)
foreach(name IN LISTS e2e_tests)
  ledger_e2e(e2e_${name} ${CMAKE_SOURCE_DIR}/tests/e2e/test_${name}.py)
  if(name IN_LIST e2e_slow)
    set_tests_properties(e2e_${name} PROPERTIES LABELS slow)
  endif()
endforeach()
# A client that is not installed is skipped: its test ends with 77, and ctest lists it by name.
foreach(name IN LISTS clients)
  string(TOLOWER e2e_client_${name} test)
  ledger_e2e(${test} ${CMAKE_SOURCE_DIR}/tests/e2e/test_clients.py ${name}Client)
  set_tests_properties(${test} PROPERTIES SKIP_RETURN_CODE 77 LABELS clients)
endforeach()
ledger_e2e(e2e_client_docs ${CMAKE_SOURCE_DIR}/tests/e2e/test_clients.py Docs)
foreach(name IN LISTS demos)
  ledger_e2e(demo_${name} ${CMAKE_SOURCE_DIR}/demos/${name})
endforeach()

# What a call costs, in instructions and allocations, against tests/cost_limits.txt. Skipped, by name, where valgrind is
# missing or the build is another than that of the limits.
foreach(what instructions allocations)
  ledger_e2e(cost_guard_${what} ${CMAKE_SOURCE_DIR}/tests/cost_guard.py ${what})
  set_tests_properties(cost_guard_${what} PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON)
  set_property(TEST cost_guard_${what} APPEND PROPERTY ENVIRONMENT "LEDGER_BUILD=${CMAKE_BUILD_TYPE}"
    "LEDGER_COST=$<TARGET_FILE:cost>" "LEDGER_ALLOCATIONS_SO=$<TARGET_FILE:allocations>")
endforeach()
