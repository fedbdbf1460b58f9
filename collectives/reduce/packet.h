#pragma once
#include "transports/packet.h"
