// A machine's topology for people (text), programs (JSON) and pictures (Graphviz: pipe it through `dot -Tsvg`).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "runtime/topology/machine.h"

namespace tutti {

/// Lines that are indented by two blanks.
std::string topology_text(const Machine& machine);
nlohmann::json topology_json(const Machine& machine);
std::string topology_graphviz(const Machine& machine);

/// "up, 10.0.0.1, 10000 Mb/s, memory 0, 0000:81:00.0".
std::string device_text(const NetworkDevice& device);

/// "23.5 GiB": for people, of memories that are never round.
std::string memory_text(uint64_t bytes);

}  // namespace tutti
