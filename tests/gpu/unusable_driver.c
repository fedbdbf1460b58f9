// A library that loads like the CUDA driver's but is none that Tutti can use: one for an old CUDA, or one without most functions.
#define EXPORTED __attribute__((visibility("default")))

EXPORTED int cuInit(unsigned flags);
EXPORTED int cuDriverGetVersion(int* version);

int cuInit(unsigned flags) {
  return flags == 0 ? 0 : 1;
}

int cuDriverGetVersion(int* version) {
#ifdef OLD
  *version = 12020;
#else
  *version = 13000;
#endif
  return 0;
}
