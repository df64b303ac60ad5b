package foreign

import (
	"os"
	"path/filepath"
)

// CacheDirVariable says where copies of what others made are kept; the default is stepflow in the user's folder for
// caches.
const CacheDirVariable = "STEPFLOW_CACHE_DIR"

// CacheDir is the folder of stepflow's caches; "" where there is no place for one.
func CacheDir() string {
	if dir := os.Getenv(CacheDirVariable); dir != "" {
		return dir
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(user, "stepflow")
}
