# The real tree passes; trees with one planted fault each do not, and say which.
add_test(NAME layering
  COMMAND ${CMAKE_COMMAND} -DROOT=${CMAKE_SOURCE_DIR} -P ${CMAKE_CURRENT_LIST_DIR}/check_layers.cmake)

function(layering_refuses name file line says)
  set(root ${CMAKE_CURRENT_BINARY_DIR}/layering/${name})
  file(WRITE ${root}/${file} "${line}\n")
  add_test(NAME layering_refuses_${name}
    COMMAND ${CMAKE_COMMAND} -DROOT=${root} -P ${CMAKE_CURRENT_LIST_DIR}/check_layers.cmake)
  set_tests_properties(layering_refuses_${name} PROPERTIES PASS_REGULAR_EXPRESSION "${says}")
endfunction()

layering_refuses(a_room_to_the_right store/sqlite.cc "#include \"guard/decide.h\"" "includes a header of guard/")
layering_refuses(sockets_in_the_core guard/decide.cc "#include <boost/asio/ip/tcp.hpp>" "a core file includes")
layering_refuses(a_clock_in_the_core fingerprint/url.cc "auto t = std::chrono::system_clock::now()\;" "reads a clock")
