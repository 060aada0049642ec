namespace BlockMount.TestSupport;

/// <summary>
/// One known seed in an ordinary run, which must give the same answer every time; with BLOCKMOUNT_SOAK_SECONDS as many fresh ones as
/// fit. A failure names its seed.
/// </summary>
internal static class FreshSeeds
{
    public static async Task RunAsync(Func<int, Task> test)
    {
        var seconds = double.TryParse(Environment.GetEnvironmentVariable("BLOCKMOUNT_SOAK_SECONDS"), out var wanted) ? wanted : 0;
        var end = DateTime.UtcNow.AddSeconds(seconds);
        do
        {
            var seed = seconds > 0 ? Random.Shared.Next() : 1;
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
