package slurm

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// IntervalVariable is the variable of the environment that says how long after one question about jobs the next one may come.
const IntervalVariable = "STEPFLOW_SLURM_INTERVAL"

// Interval returns what that variable says; a second by default.
func Interval() time.Duration {
	if d, err := time.ParseDuration(os.Getenv(IntervalVariable)); err == nil && d > 0 {
		return d
	}
	return time.Second
}

// Asks asks for the states of several jobs at once, however many ask: a controller has other things to do.
type Asks struct {
	Every time.Duration // an answer serves for so long

	mu     sync.Mutex
	asked  map[string]time.Time // by job, when someone last asked
	at     time.Time
	answer map[string]Status
}

// Of returns the state of a job.
func (q *Asks) Of(ctx context.Context, id string) (Status, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asked == nil {
		q.asked = map[string]time.Time{}
	}
	now := time.Now()
	q.asked[id] = now
	if s, ok := q.answer[id]; ok && now.Sub(q.at) < q.Every {
		return s, nil
	}
	maps.DeleteFunc(q.asked, func(_ string, t time.Time) bool { return now.Sub(t) > time.Minute })
	ids := slices.Sorted(maps.Keys(q.asked))
	answer, err := Of(ctx, ids)
	if err != nil {
		return Status{}, err
	}
	for _, id := range ids {
		if _, known := answer[id]; !known {
			answer[id] = Status{} // that it is not known is an answer too
		}
	}
	q.answer, q.at = answer, time.Now()
	return answer[id], nil
}
