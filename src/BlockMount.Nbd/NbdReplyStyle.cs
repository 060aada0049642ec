namespace BlockMount.Nbd;

/// <summary>How requests and replies are framed in the transmission phase; each style contains what the one before it can say.</summary>
public enum NbdReplyStyle
{
    /// <summary>28-byte requests, and replies without a length of their own ("Simple reply message"); what kernels speak.</summary>
    Simple,

    /// <summary>The same requests, and replies in chunks ("Structured reply chunk message").</summary>
    Structured,

    /// <summary>32-byte requests with 64-bit lengths, and replies in 32-byte chunks only ("Extended reply chunk message").</summary>
    Extended,
}
