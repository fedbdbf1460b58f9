// Single elements of every data type, as whole or real numbers: what the patterns of verify.h are made of.
#pragma once

#include <tutti/tutti.h>

#include <cstddef>
#include <cstdint>

namespace tutti::bench {

/// Whole numbers of magnitude up to 2^bits are exact in the type (and no larger ones, for floating point).
int exact_bits(tutti_datatype_t datatype);
bool is_signed(tutti_datatype_t datatype);
bool is_floating(tutti_datatype_t datatype);
/// Distance of 1 to the next larger number; 0 for integers.
double epsilon(tutti_datatype_t datatype);

/// Writes a whole number that the type can hold.
void store_whole(tutti_datatype_t datatype, int64_t value, std::byte* element);
/// Writes a finite real number, rounded to nearest even; floating-point types only. What is too large for a type of 16 or 8 bits becomes
/// its largest number.
void store_real(tutti_datatype_t datatype, double value, std::byte* element);
/// Reads an element of a floating-point type.
double load_real(tutti_datatype_t datatype, const std::byte* element);

}  // namespace tutti::bench
