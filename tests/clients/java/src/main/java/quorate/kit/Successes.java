package quorate.kit;

import java.util.concurrent.ConcurrentLinkedQueue;

/** When the transactions of this client succeeded, and the longest time without one. */
public final class Successes {
    private final ConcurrentLinkedQueue<Long> at = new ConcurrentLinkedQueue<>();

    public void add() {
        at.add(System.nanoTime());
    }

    public int count() {
        return at.size();
    }

    /** In seconds, between `start` and `end` of {@link System#nanoTime}, both of which count as successes. */
    public double longestGap(long start, long end) {
        long longest = 0;
        long before = start;
        for (long success : at.stream().sorted().mapToLong(Long::longValue).toArray()) {
            longest = Math.max(longest, success - before);
            before = success;
        }
        return Math.max(longest, end - before) / 1e9;
    }
}
