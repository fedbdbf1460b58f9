// What tutti-info prints: machine, topology, transports, bootstrap, environment, selection.
#pragma once

#include <string>
#include <vector>

namespace tutti {

/// `format` is "text", "json", "graphviz" (the topology alone) or "environment-markdown" (the variables alone). The selection is
/// shown for as many nodes as `ranks_of_nodes` has elements, with so many ranks each. Throws Error.
std::string describe(const std::string& format, const std::vector<int>& ranks_of_nodes);

/// The same for ranks on one node.
std::string describe(const std::string& format, int ranks);

}  // namespace tutti
