// The version of the library, from the public header.
#pragma once

#include "include/tutti/tutti.h"

namespace tutti {

#define TUTTI_TEXT_(x) #x
#define TUTTI_TEXT(x) TUTTI_TEXT_(x)
inline constexpr const char* kVersionText =
    TUTTI_TEXT(TUTTI_VERSION_MAJOR) "." TUTTI_TEXT(TUTTI_VERSION_MINOR) "." TUTTI_TEXT(TUTTI_VERSION_PATCH);
#undef TUTTI_TEXT
#undef TUTTI_TEXT_

}  // namespace tutti
