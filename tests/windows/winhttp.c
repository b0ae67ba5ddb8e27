/* Sets the proxy of this machine's services: winhttp PROXY BYPASS. It is the call behind `netsh winhttp set proxy`, which
   Wine does not have. */
#include <windows.h>
#include <winhttp.h>
#include <stdlib.h>

int main(int count, char **words) {
  WCHAR proxy[256], bypass[256];
  WINHTTP_PROXY_INFO set = {WINHTTP_ACCESS_TYPE_NAMED_PROXY, proxy, bypass};
  if (count != 3) return 2;
  mbstowcs(proxy, words[1], 256);
  mbstowcs(bypass, words[2], 256);
  return !WinHttpSetDefaultProxyConfiguration(&set);
}
