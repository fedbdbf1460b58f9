// What tutti-info prints: machine, transports, environment, selection.
#pragma once

#include <string>

namespace tutti {

/// `format` is "text", "json" or "environment-markdown"; the selection is shown for `ranks` ranks. Throws Error.
std::string describe(const std::string& format, int ranks);

}  // namespace tutti
