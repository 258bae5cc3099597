// Stands for the API.
var app = Microsoft.AspNetCore.Builder.WebApplication.CreateBuilder(args).Build();
app.MapGet("/api/health", () => "ok");
app.Run();
