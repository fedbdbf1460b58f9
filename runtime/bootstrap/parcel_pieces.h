// A parcel on its way: cut into messages that fit one datagram each, and put together again.
//
// Every piece says whose parcel it is of, its number, and how many there are; pieces arrive in order. Piece k has the k-th
// kMaxMessageText bytes and the k-th kMaxMessageDescriptors descriptors, as far as there are any; an empty parcel is one piece.
#pragma once

#include <string>
#include <vector>

#include "runtime/bootstrap/message.h"
#include "runtime/bootstrap/parcels.h"

namespace tutti {

inline constexpr size_t kMostParcelDescriptors = 512;
inline constexpr size_t kMostParcelBytes = size_t{64} << 20;

/// Throws Error(invalid_argument) when the parcel of that local rank has more bytes or descriptors than allowed.
void check_parcel(const Parcel& parcel, int place);

/// How many messages the parcel is cut into.
int piece_count(const Parcel& parcel);

struct Piece {
  MessageHeader header;
  std::string text;
  std::vector<int> descriptors;  // still the parcel's
};
Piece piece_of(const Parcel& parcel, int place, int number);

/// Puts the pieces of one parcel together. Takes nothing on trust: not more than a parcel may have, and only what comes next.
class ParcelAssembly {
 public:
  /// Throws Error(internal_error) when this is not the next piece of the parcel of that local rank; `sender` is for the text.
  void take(Message piece, int place, int sender);
  bool whole() const { return pieces_ > 0 && next_ == pieces_; }
  /// What has been put together.
  Parcel& parcel() { return parcel_; }

 private:
  Parcel parcel_;
  int pieces_ = 0;  // 0: the first one says
  int next_ = 0;
};

}  // namespace tutti
