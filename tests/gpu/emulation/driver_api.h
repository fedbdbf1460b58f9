// The toolkit's cuda.h, with every function it declares visible outside of the library: a definition of one exports it.
#pragma once

#pragma GCC visibility push(default)
#include <cuda.h>
#pragma GCC visibility pop
