# What a hostile caller, upstream, probe, file or neighbour may try, each counted at the upstream: the real binary.
file(GLOB attacks CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/attack/test_*.py)
foreach(file IN LISTS attacks)
  get_filename_component(name ${file} NAME_WE)
  string(REGEX REPLACE "^test_" "attack_" name ${name})
  ledger_e2e(${name} ${file})
endforeach()
