// Stands for the app.
import { registerRootComponent } from "expo";
import { Text } from "react-native";

registerRootComponent(() => <Text>OColecionador</Text>);
