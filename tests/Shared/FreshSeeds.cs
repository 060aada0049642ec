namespace BlockMount.TestSupport;

/// <summary>
/// Seeds that no run had before: one in an ordinary run, as many as fit in BLOCKMOUNT_SOAK_SECONDS otherwise. A failure names its seed.
/// </summary>
internal static class FreshSeeds
{
    public static async Task RunAsync(Func<int, Task> test)
    {
        var seconds = double.TryParse(Environment.GetEnvironmentVariable("BLOCKMOUNT_SOAK_SECONDS"), out var wanted) ? wanted : 0;
        var end = DateTime.UtcNow.AddSeconds(seconds);
        do
        {
            var seed = Random.Shared.Next();
            try
            {
                await test(seed);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"with seed {seed}: {e.Message}", e);
            }
        }
        while (DateTime.UtcNow < end);
    }
}
