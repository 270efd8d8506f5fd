# Hold.cmake: the three functions by which rooms, methods and tests enter the build.

# Warnings are ours alone: never global, so that a user's compiler cannot break on them.
add_library(hold_flags INTERFACE)
target_compile_options(hold_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wundef
  -Wstrict-prototypes -Wmissing-prototypes -Wvla -ffp-contract=off)
if(HOLD_WERROR)
  target_compile_options(hold_flags INTERFACE -Werror)
endif()
if(HOLD_SANITIZE)
  target_compile_options(hold_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(hold_flags INTERFACE -fsanitize=address,undefined)
endif()
if(HOLD_TSAN)
  target_compile_options(hold_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer
    -Wno-unknown-pragmas -Wno-unused-parameter)
  target_link_options(hold_flags INTERFACE -fsanitize=thread)
endif()
if(HOLD_FUZZ)
  target_compile_options(hold_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_include_directories(hold_flags INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_BINARY_DIR}/gen)
target_compile_definitions(hold_flags INTERFACE _GNU_SOURCE)

# hold_room(NAME SOURCES ... [DEPENDS room ...] [LIBS library ...])
# A room is an object library; its link list is its row in docs/rooms.txt.
function(hold_room name)
  cmake_parse_arguments(R "" "" "SOURCES;DEPENDS;LIBS" ${ARGN})
  add_library(hold_${name} OBJECT ${R_SOURCES})
  target_link_libraries(hold_${name} PRIVATE hold_flags ${R_LIBS})
  set_property(GLOBAL APPEND PROPERTY HOLD_ROOMS ${name})
  set_property(GLOBAL APPEND PROPERTY HOLD_LIBS ${R_LIBS})
  set_property(GLOBAL PROPERTY HOLD_DEPENDS_${name} ${R_DEPENDS})
endfunction()

# hold_test(test_x.c ROOMS room ... [LABELS l ...]): a cmocka program linked with the library.
function(hold_test source)
  cmake_parse_arguments(T "" "" "ROOMS;LABELS;LIBS" ${ARGN})
  get_filename_component(stem ${source} NAME_WE)
  add_executable(${stem} EXCLUDE_FROM_ALL ${source})
  target_link_libraries(${stem} PRIVATE hold_flags holdfast_static PkgConfig::CMOCKA ${T_LIBS})
  target_compile_definitions(${stem} PRIVATE HOLD_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_dependencies(hold_tests ${stem})
  add_test(NAME ${stem} COMMAND ${stem})
  set_tests_properties(${stem} PROPERTIES LABELS "${T_LABELS}" TIMEOUT 600)
endfunction()
