# Fails when an object compiled for one instruction set offers the linker a function that another object may have, too:
# were that copy the one kept, the library would crash on a processor without those instructions.
#
#   cmake -DNM=nm -DOBJECTS=a.o|b.o -P check_symbols.cmake
string(REPLACE "|" ";" objects "${OBJECTS}")
set(checked 0)
foreach(object IN LISTS objects)
  if(NOT object MATCHES "isa_")
    continue()
  endif()
  execute_process(COMMAND ${NM} --defined-only --demangle ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" shared "${symbols}")
  list(FILTER shared EXCLUDE REGEX " DW\\.ref\\.") # a pointer for unwinding, no code
  if(shared)
    list(JOIN shared "\n  " shared)
    message(FATAL_ERROR "${object} defines symbols that the linker may merge:\n  ${shared}")
  endif()
  if(NOT symbols MATCHES "::kTable")
    message(FATAL_ERROR "${object} was not read: it shows no kernel table")
  endif()
  math(EXPR checked "${checked} + 1")
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no isa_*.o among: ${objects}")
endif()
message(STATUS "${checked} objects share no symbol")
